"""AWS, the network, time and the controller's own death, in one deterministic world without threads or real time.

The same `reconcile`, `core`, triggers and adapters run here as on Lambda. `natkeeper simulate` plays seeded
schedules of faults in it, `tests/simulation` the small worlds that can be searched whole. Imports natkeeper, never the
reverse; may not import moto, boto3 clients or threads.
"""
