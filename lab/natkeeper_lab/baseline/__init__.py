"""The reference baseline: a controller of the kind that ships today, so that users see what natkeeper's design buys.

Written for `bench`, from what the published ones have in common. It looks with one call after another, moves route
tables one by one to an instance and gives up at the first refusal, probes in a closed loop with time-outs of its own,
acts on one failed round, leaves the Elastic IP where it is, and sends traffic home as soon as EC2 says `running`.
May not import natkeeper or lab.api: it would not be a baseline if it borrowed from what it is held against.
"""
