-- A script of wrk: requests come at their times, however many are still unanswered, as far as connections are free.
--
--     wrk -t 1 -c CONNECTIONS -d DURATION -s overload.lua URL -- BODIES RATE
--
-- Bodies are inference requests of the Open Inference Protocol: the answer repeats the id of its request, which tells
-- the time that an accepted one took. Prints what came of it as one line of JSON.

local ffi = require("ffi")
ffi.cdef([[
  typedef struct { long seconds; long nanoseconds; } moment;
  int clock_gettime(int clock, moment *now);
]])

local MONOTONIC, MOST_MS = 1, 60000
local moment = ffi.new("moment")
local bodies, rate, sent, next_at = {}, 0, {}, nil
answered, refused, asked, histogram = 0, 0, 0, {}

local function now_ms()
  ffi.C.clock_gettime(MONOTONIC, moment)
  return tonumber(moment.seconds) * 1e3 + tonumber(moment.nanoseconds) / 1e6
end

local threads = {}

function setup(thread)
  threads[#threads + 1] = thread
end

function init(arguments)
  for body in io.lines(arguments[1]) do
    bodies[#bodies + 1] = body:sub(2)
  end
  rate = tonumber(arguments[2])
end

-- Milliseconds until a free connection sends: it takes the next time of the schedule.
function delay()
  local now = now_ms()
  local wait = math.max(0, (next_at or now) - now)
  next_at = (next_at or now) + 1e3 / rate
  return math.floor(wait)
end

function request()
  asked = asked + 1
  sent[asked] = now_ms()
  local body = '{"id": "' .. asked .. '", ' .. bodies[asked % #bodies + 1]
  return wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, body)
end

function response(status, _, body)
  if status ~= 200 then
    refused = refused + 1
    return
  end
  answered = answered + 1
  local id = tonumber(body:match('"id":%s*"(%d+)"'))
  local took = math.min(MOST_MS, math.ceil(now_ms() - sent[id]))
  sent[id] = nil
  histogram[took] = (histogram[took] or 0) + 1
end

local function percentile(counts, total, share)
  local seen = 0
  for took = 0, MOST_MS do
    seen = seen + (counts[took] or 0)
    if seen >= share * total then
      return took
    end
  end
  return MOST_MS
end

function done(summary)
  local thread = threads[1]
  local total, seconds, errors = thread:get("answered"), summary.duration / 1e6, summary.errors
  print(string.format(
    '{"asked": %d, "answered": %d, "refused": %d, "broken": %d, "seconds": %.6f, "p50_ms": %d, "p99_ms": %d}',
    thread:get("asked"), total, thread:get("refused"),
    errors.connect + errors.read + errors.write + errors.timeout, seconds,
    percentile(thread:get("histogram"), total, 0.5), percentile(thread:get("histogram"), total, 0.99)
  ))
end
