-- The load of bench-http for wrk: BEHAVIOUR's metric event, DEPTH requests at once.
--
--     DEPTH=16 wrk -t1 -c64 -d4s -s bench/http.lua http://127.0.0.1:8080
--
-- One at a time wrk makes its request once and sends it again and again; a function `request` would be called for each of them and take as
-- much of wrk's processor as a tenth of a server's. Several at once it cannot make by itself.
--
-- Prints one line that a program can read; times are microseconds.

local depth = tonumber(os.getenv("DEPTH") or "1")

wrk.method = "POST"
wrk.path = "/event"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"username": "kodingbot", "count": 12412414, "metric": "kite_call"}'

if depth > 1 then
   local requests

   function init(_)
      requests = string.rep(wrk.format(), depth)
   end

   function request()
      return requests
   end
end

function done(summary, latency, _)
   local e = summary.errors
   io.write(string.format("RESULT requests %d duration %d p50 %d p99 %d max %d connect %d read %d write %d status %d timeout %d\n",
      summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
      e.connect, e.read, e.write, e.status, e.timeout))
end
