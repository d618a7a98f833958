-- A script of wrk: asks with the bodies of a file, one a line, in turn.
--
--     wrk -c CONNECTIONS -d DURATION -s load.lua URL -- BODIES
--
-- Prints what came of it as one line of JSON; failed are requests without an answer or with another status than 2xx.

local requests, taken = {}, 0

function init(arguments)
  for body in io.lines(arguments[1]) do
    requests[#requests + 1] = wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, body)
  end
end

function request()
  taken = taken % #requests + 1
  return requests[taken]
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
  print(string.format(
    '{"requests": %d, "failed": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f}',
    summary.requests, failed, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3
  ))
end
