"""What runs under gevent: the processes that send load, and all that only they use.

`worker`, `master`, `fanout` and `measure` are their entries. No module outside this folder imports one of it, so gevent
and Locust are loaded, and patch, in these processes only. What both sides know is in `load`.
"""
