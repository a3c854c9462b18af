"""The load: schedule, requests, users, recorder, supervision.

`session` and `capacity` are for the stages; `supervision` is the process that answers for a session's end. None imports
Locust or gevent: what does is in `sender`, whose modules run only in processes of their own, started by their names.
Nothing here judges what was measured.
"""
