"""The load: schedule, requests, users, recorder, supervision.

`supervisor` is for the stages and imports neither Locust nor gevent; `worker`, `master` and `fanout` run in processes
of their own, which `supervise` starts and watches. Nothing here judges what was measured.
"""
