"""The conditions of a valid load, by what they look at; each is one finding, PASS or INCONCLUSIVE."""
