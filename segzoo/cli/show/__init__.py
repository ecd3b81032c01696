"""``segzoo show``: one model, its encoders, what it costs and sees."""
