-- The load of bench-http for wrk: BEHAVIOUR's metric event, `depth` requests at once.
--
--     wrk -t1 -c64 -d4s -s bench/http.lua http://127.0.0.1:8080 -- 16
--
-- Prints one line that a program can read; times are microseconds.

local requests

function init(args)
   local depth = tonumber(args[1] or "1")
   local body = '{"username": "kodingbot", "count": 12412414, "metric": "kite_call"}'
   local one = wrk.format("POST", "/event", { ["Content-Type"] = "application/json" }, body)
   requests = string.rep(one, depth)
end

function request()
   return requests
end

function done(summary, latency, _)
   local e = summary.errors
   io.write(string.format("RESULT requests %d duration %d p50 %d p99 %d max %d connect %d read %d write %d status %d timeout %d\n",
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
      e.connect, e.read, e.write, e.status, e.timeout))
end
