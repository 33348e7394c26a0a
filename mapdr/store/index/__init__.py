"""The database: schema, string table, studies, counters, commands, and what people look at."""
