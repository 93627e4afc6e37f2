"""A million sessions: what they take, and what purging them does to others (``make scale``)."""
