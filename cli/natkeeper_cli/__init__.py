"""The operator's command. Imports natkeeper and the lab; neither imports it."""
