"""The HTTP surface of the platform: authentication, admission, policy, execution and the read endpoints.

It writes tenants, users, agents, permissions and kill switches itself; everything that happens to a call it hands to
the workers as events. It never writes an audit row, a usage record, a timeline or a root.
"""
