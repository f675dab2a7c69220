"""The pure heart: facts in, plan out. No boto3, os, time, random, logging or threads (import-linter enforces it)."""
