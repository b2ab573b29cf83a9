-- Redis runs the scripts in Lua 5.1 and hands them these.
std = "lua51"
read_globals = { "redis", "KEYS", "ARGV" }
