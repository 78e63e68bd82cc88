-- The code of xptrace.lua. What it calls DECLARED stands in front of it there: xptrace/exports/wireshark.py makes it.

-- What a number, a text or a place in a packet is.

local function bits_of(number)
  local set, bit = {}, 1
  for _, name in ipairs(DECLARED.flags) do
    set[name] = number % (2 * bit) >= bit
    bit = 2 * bit
  end
  return set
end

local function hexadecimal(range)
  local digits = {}
  for at = range:len() - 1, 0, -1 do
    digits[#digits + 1] = string.format("%02x", range:range(at, 1):uint())
  end
  return table.concat(digits)
end

-- Text of a recording is a stranger's: nothing of it may act on whatever shows it.

local function character(text, at)
  local lead = text:byte(at)
  if lead < 0x80 then return lead, 1 end
  local length = lead >= 0xf0 and 4 or lead >= 0xe0 and 3 or 2
  if lead < 0xc2 or lead > 0xf4 or at + length - 1 > #text then return nil, 1 end
  local code = lead % (length == 2 and 0x20 or length == 3 and 0x10 or 0x08)
  for place = at + 1, at + length - 1 do
    local byte = text:byte(place)
    if byte < 0x80 or byte > 0xbf then return nil, 1 end
    code = code * 0x40 + byte % 0x40
  end
  local least = length == 2 and 0x80 or length == 3 and 0x800 or 0x10000
  if code < least or code > 0x10ffff or (code >= 0xd800 and code <= 0xdfff) then return nil, 1 end
  return code, length
end

local function acts(code)
  for _, range in ipairs(DECLARED.active) do
    if code >= range[1] and code <= range[2] then return true end
  end
  return false
end

local function printable(text)
  if text:find("^[ -~]*$") then return text end
  local shown, at = {}, 1
  while at <= #text do
    local code, length = character(text, at)
    if code == nil then
      shown[#shown + 1] = string.format("\\udc%02x", text:byte(at))
    elseif not acts(code) then
      shown[#shown + 1] = text:sub(at, at + length - 1)
    elseif code < 0x100 then
      shown[#shown + 1] = string.format("\\x%02x", code)
    elseif code < 0x10000 then
      shown[#shown + 1] = string.format("\\u%04x", code)
    else
      shown[#shown + 1] = string.format("\\U%08x", code)
    end
    at = at + length
  end
  return table.concat(shown)
end

local function text_of(range)
  return range and printable(range:raw()) or ""
end

-- The register map: which register an access reaches, and what its value says.

local function find(space, offset, size, direction)
  local found
  for _, register in ipairs(DECLARED.registers) do
    if register.space == space and register.offset == offset and register.direction == direction
        and (size == nil or register.size == size) then
      if size ~= nil then return register end
      if found ~= nil then return nil end
      found = register
    end
  end
  return found
end

-- A number that fits what Lua counts exactly, or nil.
local function small(range)
  for at = 4, range:len() - 1 do
    if range:range(at, 1):uint() ~= 0 then return nil end
  end
  return range:range(0, math.min(range:len(), 4)):le_uint()
end

local function say(register, range)
  if range == nil then return (register.name:gsub("_", " ")) .. ", value not recorded" end
  local value = small(range)
  local said = value and register.values[value]
  if said == nil then
    local meanings = {}
    local low = range:range(0, math.min(range:len(), 4)):le_uint()
    for _, bit in ipairs(register.bits) do
      if low % (2 * bit.value) >= bit.value then meanings[#meanings + 1] = bit.meaning end
    end
    said = #meanings > 0 and table.concat(meanings, ", ") or register.otherwise
  end
  local digits = hexadecimal(range)
  while #digits > 2 * register.size and digits:sub(1, 1) == "0" do digits = digits:sub(2) end
  local words = { value and string.format("%.0f", value) or tostring(range:le_uint64()), "0x" .. digits, said }
  local sentence = {}
  for _, part in ipairs(register.sentence) do
    sentence[#sentence + 1] = type(part) == "number" and words[part] or part
  end
  return table.concat(sentence)
end

local function pieces(space, offset, size, direction, range)
  local found, at, stop = {}, offset, offset + size
  while at < stop do
    local step = 1
    if space == "pio" and at >= DECLARED.first_port then
      while step * 2 <= stop - at do step = step * 2 end
    end
    if not (space == "pio" and at < DECLARED.first_port)
        and not (space == "bar0" and (at < 0 or at >= DECLARED.bar0_size)) then
      found[#found + 1] = {
        offset = at, size = step, register = find(space, at, step, direction),
        range = range and range:range(at - offset, step),
      }
    end
    at = at + step
  end
  return found
end

local function undefined_words(direction, range)
  if direction == "write" then return "no register here: ignored" end
  local ones = range ~= nil
  for at = 0, (range and range:len() or 0) - 1 do ones = ones and range:range(at, 1):uint() == 0xff end
  return ones and "no register here: all ones" or "no register here"
end

-- Returns the name of the register that an access is filed under, what the access says, and its pieces.
local function reached(access)
  local space, direction = access.space, access.direction
  local whole = DECLARED.whole_space[space]
  if whole ~= nil then
    if access.said ~= "" then return whole, access.said, {} end
    return whole, space == "bar1" and "BAR1: address space for the driver"
      or string.format("config space, offset 0x%x", access.place), {}
  end
  if access.size == 0 then
    local register = find(space, access.place, nil, direction)
    local words = register and say(register, access.range) .. " (size not recorded)"
    return register and register.name or DECLARED.undefined,
      access.said ~= "" and access.said or words or "size not recorded: cannot tell the register", {}
  end
  local parts = pieces(space, access.place, access.size, direction, access.range)
  local name, said = DECLARED.undefined, {}
  for _, part in ipairs(parts) do
    if part.register ~= nil then
      if name == DECLARED.undefined then name = part.register.name end
      local where = space == "pio" and string.format("0x%x", part.offset) or string.format("+%d", part.offset)
      said[#said + 1] = string.format("[%s, %d byte%s] %s", where, part.size, part.size > 1 and "s" or "",
        say(part.register, part.range))
    end
  end
  local words
  if #parts == 1 and parts[1].offset == access.place and parts[1].size == access.size and parts[1].register then
    words = say(parts[1].register, parts[1].range)
  else
    words = #said > 0 and table.concat(said, "; ") or undefined_words(direction, access.range)
  end
  return name, access.said ~= "" and access.said or words, parts
end

-- What Wireshark shows, and can filter for.

local xenplat = Proto("xenplat", "Xen platform device")
local fields = {}
for _, one in ipairs(DECLARED.fields) do
  local name, kind, title = one[1], one[2], one[3]
  local abbreviation = "xenplat." .. name
  if kind == "string" then
    fields[name] = ProtoField.string(abbreviation, title)
  elseif kind == "bool" then
    fields[name] = ProtoField.bool(abbreviation, title)
  elseif kind == "hex" then
    fields[name] = ProtoField.uint64(abbreviation, title, base.DEC_HEX)
  elseif kind == "int64" then
    fields[name] = ProtoField.int64(abbreviation, title, base.DEC)
  elseif kind == "request" or kind == "answer" then
    local role = kind == "request" and frametype.REQUEST or frametype.RESPONSE
    fields[name] = ProtoField.framenum(abbreviation, title, base.NONE, role)
  elseif kind == "frame" then
    fields[name] = ProtoField.framenum(abbreviation, title, base.NONE)
  elseif kind == "interval" then
    fields[name] = ProtoField.relative_time(abbreviation, title)
  else
    fields[name] = ProtoField.uint64(abbreviation, title, base.DEC)
  end
end
xenplat.fields = fields

local experts = {
  damaged = ProtoExpert.new("xenplat.damaged", "Not a packet of xptrace", expert.group.MALFORMED, expert.severity.ERROR),
  undefined = ProtoExpert.new("xenplat.undefined", "The device has no register here", expert.group.PROTOCOL,
    expert.severity.NOTE),
}
for severity, level in pairs({ high = "ERROR", medium = "WARN", low = "NOTE", info = "CHAT" }) do
  experts[severity] = ProtoExpert.new("xenplat.finding." .. severity, "Finding", expert.group.SEQUENCE,
    expert.severity[level])
end
xenplat.experts = experts

local comments = Field.new("frame.comment")
local times = Field.new("frame.time_epoch")

-- Steps of a negotiation, by the frames that they are in: filled in once, in the order of the file.

local steps, waiting, last
function xenplat.init()
  steps, waiting, last = {}, {}, {}
end

local function follow(number, key, register, time, clock)
  local step = { time = time, clock = clock }
  steps[number] = step
  if last[key] then
    step.previous = last[key]
    steps[last[key]].next = number
  end
  last[key] = number
  local asked = waiting[key]
  if asked and asked.answer == register then
    step.answer_to = asked.frame
    steps[asked.frame].answer_in = number
  end
  local answer = DECLARED.answers[register]
  waiting[key] = answer and { answer = answer, frame = number } or nil
end

local function relate(tree, number)
  local step = steps[number]
  if not step then return end
  for _, name in ipairs({ "previous", "next", "answer_to", "answer_in" }) do
    if step[name] then tree:add(fields[name], step[name]):set_generated() end
  end
  local asked = step.answer_to and steps[step.answer_to]
  if asked and asked.time and step.time and asked.clock == step.clock then
    tree:add(fields.answer_time, step.time - asked.time):set_generated()
  end
end

local function findings(tree)
  for _, comment in ipairs({ comments() }) do
    local rule, severity, certainty, sentence = tostring(comment.value):match("^finding (%S+) (%a+) (%a+): (.*)$")
    if rule and experts[severity] then
      local item = tree:add(fields.finding, rule)
      item:append_text(" (" .. severity .. ", " .. certainty .. "): " .. sentence)
      item:set_generated()
      tree:add(fields.severity, severity):set_generated()
      item:add_proto_expert_info(experts[severity], rule .. ": " .. sentence)
    end
  end
end

local function nanoseconds(time)
  local high = math.floor(time.secs / 0x100000000)
  return UInt64.new(time.secs % 0x100000000, high) * UInt64.new(1000000000) + UInt64.new(time.nsecs)
end

-- From a packet to its tree.

local function layout(tvb, fields_of, begin)
  local at, ranges = begin, {}
  for _, one in ipairs(fields_of) do
    ranges[one[1]] = tvb:range(at, one[2])
    at = at + one[2]
  end
  return ranges, at
end

local function named(names, range)
  return names[range:uint()] or string.format("unknown (%d)", range:uint())
end

local function damaged(tvb, tree, why)
  tree:add_proto_expert_info(experts.damaged, why)
  return tvb:len()
end

local function show_access(tvb, tree, packet)
  local body, head, at = packet.body, packet.head, packet.at
  local access = {
    space = named(DECLARED.names.space, body.space), direction = named(DECLARED.names.access, body.access),
    size = body.size:uint(), place = body.offset:le_int(), said = text_of(packet.texts.said),
  }
  local width = access.size > 0 and access.size or DECLARED.unknown_width
  if body.recorded:uint() ~= 0 then
    if tvb:len() < at + width then return damaged(tvb, tree, "the value is not whole") end
    access.range = tvb:range(at, width)
  end
  local register, meaning, parts = reached(access)
  tree:add(fields.space, body.space, access.space)
  tree:add(fields.direction, body.access, access.direction)
  if packet.told.address then tree:add(fields.address, body.address, body.address:le_uint64()) end
  tree:add(fields.base, head.base, head.base:le_uint64())
  if access.size > 0 then tree:add(fields.size, body.size, UInt64.new(access.size)) end
  if access.range and width <= 8 then tree:add(fields.value, access.range, access.range:le_uint64()) end
  tree:add(fields.count, head.count, UInt64.new(head.count:le_uint()))
  if packet.told.vcpu then tree:add(fields.vcpu, head.vcpu, Int64.new(head.vcpu:le_int())) end
  if packet.told["function"] then
    local number = head["function"]:le_uint()
    tree:add(fields["function"], head["function"], string.format("%02x:%02x.%d", math.floor(number / 256),
      math.floor(number / 8) % 32, number % 8))
    if packet.texts.subject then tree:add(fields.device, packet.texts.subject, text_of(packet.texts.subject)) end
  end
  local item = tree:add(fields.register, tvb:range(packet.begin), register)
  for _, part in ipairs(parts) do
    for _, bit in ipairs(part.register and part.range and part.register.bits or {}) do
      item:add(fields[part.register.name .. "." .. bit.name], part.range,
        part.range:le_uint() % (2 * bit.value) >= bit.value)
    end
  end
  tree:add(fields.meaning, tvb:range(packet.begin), meaning)
  if register == DECLARED.undefined then item:add_proto_expert_info(experts.undefined) end
  local reads = access.direction == "read"
  packet.pinfo.cols.src = reads and "device" or packet.vm
  packet.pinfo.cols.dst = reads and packet.vm or "device"
  packet.pinfo.cols.info = meaning
  if DECLARED.steps[register] then
    if not packet.pinfo.visited and not steps[packet.pinfo.number] then
      follow(packet.pinfo.number, packet.vm .. "#" .. packet.boot, register, packet.time, packet.clock)
    end
    relate(tree, packet.pinfo.number)
  end
end

local function show_message(tvb, tree, packet)
  local via = named(DECLARED.names.via, packet.body.via)
  local range = tvb:len() > packet.at and tvb:range(packet.at) or nil
  local text = text_of(range)
  tree:add(fields.via, packet.body.via, via)
  tree:add(fields.complete, packet.head.flags, tostring(packet.told.complete))
  tree:add(fields.text, range or tvb:range(packet.begin), text)
  packet.pinfo.cols.src = packet.vm
  packet.pinfo.cols.dst = via
  packet.pinfo.cols.info = text
end

local function show_event(tvb, tree, packet)
  local topic = named(DECLARED.names.topic, packet.body.topic)
  local subject, said = text_of(packet.texts.subject), text_of(packet.texts.said)
  tree:add(fields.topic, packet.body.topic, topic)
  tree:add(fields.subject, packet.texts.subject or tvb:range(packet.begin), subject)
  tree:add(fields.said, packet.texts.said or tvb:range(packet.begin), said)
  if packet.told.number then tree:add(fields.number, packet.body.number, packet.body.number:le_uint64()) end
  packet.pinfo.cols.src = packet.vm
  packet.pinfo.cols.dst = topic
  packet.pinfo.cols.info = topic .. " " .. subject .. ": " .. said
end

local SHOW = { access = show_access, message = show_message, event = show_event }

function xenplat.dissector(tvb, pinfo, root)
  pinfo.cols.protocol = "XENPLAT"
  local tree = root:add(xenplat, tvb:range())
  if tvb:len() < DECLARED.head_bytes then return damaged(tvb, tree, "the head is not whole") end
  local head, at = layout(tvb, DECLARED.head, 0)
  local kind = DECLARED.names.kind[head.kind:uint()]
  if head.version:uint() ~= DECLARED.version then return damaged(tvb, tree, "another version of the pseudo-header") end
  if kind == nil then return damaged(tvb, tree, "an unknown kind of packet") end
  local texts, begin = {}, head.length:le_uint()
  for _, name in ipairs(DECLARED.texts) do
    local length = head[name .. "_bytes"]:le_uint()
    if at + length > tvb:len() then return damaged(tvb, tree, "the texts are not whole") end
    texts[name] = length > 0 and tvb:range(at, length) or nil
    at = at + length
  end
  if begin < at or begin + DECLARED.body_bytes[kind] > tvb:len() then
    return damaged(tvb, tree, "the body is not whole")
  end
  local body, rest = layout(tvb, DECLARED.bodies[kind], begin)
  local packet = {
    head = head, texts = texts, body = body, begin = begin, at = rest, told = bits_of(head.flags:le_uint()),
    pinfo = pinfo, vm = text_of(texts.vm), boot = head.boot:le_uint(),
  }
  tree:add(fields.kind, head.kind, kind)
  tree:add(fields.vm, texts.vm or tvb:range(0, 1), packet.vm)
  tree:add(fields.boot, head.boot, UInt64.new(packet.boot))
  if head.began:uint() ~= 0 then tree:add(fields.began, head.began, named(DECLARED.names.began, head.began)) end
  if head.clock:uint() ~= 0 then
    packet.clock = texts.clock_name and text_of(texts.clock_name) or named(DECLARED.names.clock, head.clock)
    tree:add(fields.clock, head.clock, packet.clock)
    local time = times()
    if time then
      packet.time = time.value
      tree:add(fields.time_ns, head.clock, nanoseconds(packet.time)):set_generated()
    end
  end
  if kind ~= "event" then
    tree:add(fields.certainty, head.flags, packet.told.inferred and "inferred" or "observed")
  end
  SHOW[kind](tvb, tree, packet)
  tree:append_text(", " .. packet.vm .. "#" .. packet.boot)
  if texts.source then
    tree:add(fields.source, texts.source, text_of(texts.source))
    tree:add(fields.offset, head.source_offset, head.source_offset:le_uint64())
    tree:add(fields.line, head.source_line, head.source_line:le_uint64())
  end
  if texts.told_by then tree:add(fields.told_by, texts.told_by, text_of(texts.told_by)) end
  findings(tree)
  return tvb:len()
end

DissectorTable.get("wtap_encap"):add((wtap_encaps or wtap).USER0, xenplat)
