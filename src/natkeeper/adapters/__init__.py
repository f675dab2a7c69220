"""The ports, made of AWS's SDK. Built by `wiring`; the only modules that import boto3 or Powertools."""
