-- wrk with so many requests in flight on each connection, at the least cost to wrk: one fixed text, sent
-- again and again, with no call into Lua for each request.
--
--     wrk ... -s wrk.lua URL -- DEPTH NAME...
function init(arguments)
   local parts = {}
   for i = 2, #arguments do
      parts[#parts + 1] = wrk.format("GET", "/get/" .. arguments[i])
   end
   local pipeline = table.concat(parts)
   wrk.format = function() return pipeline end
end
