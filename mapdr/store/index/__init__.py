"""The database: schema, strings, studies, counters, and what people look at."""
