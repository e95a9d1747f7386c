"""Pass one: pictures to cached bottlenecks."""
