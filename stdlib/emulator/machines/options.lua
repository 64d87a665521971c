--- Command lines as getopt reads them: short options in one word, values in the same word or the next, `--` ends them.
--
-- `short` is getopt's string ("fsSLo:"), `long` maps names to true (a flag) or "value". Returns the options by name, the other
-- words, and the first unknown option or nil.
return function(argv, short, long)
  local options, words, unknown = {}, {}, nil
  local i = 2
  local function following()
    i = i + 1
    return argv[i] or ""
  end
  local function letters(word)
    for at = 2, #word do
      local letter = word:sub(at, at)
      local found = letter ~= ":" and short:find(letter, 1, true)
      if not found then
        unknown = unknown or "-" .. letter
      elseif short:sub(found + 1, found + 1) == ":" then
        options[letter] = at < #word and word:sub(at + 1) or following()
        return
      else
        options[letter] = true
      end
    end
  end
  while i <= #argv do
    local word = argv[i]
    if word == "--" then
      table.move(argv, i + 1, #argv, #words + 1, words)
      break
    elseif word:sub(1, 2) == "--" then
      local name, value = word:match("^%-%-([^=]+)=(.*)$")
      name = name or word:sub(3)
      if not long[name] then unknown = unknown or "--" .. name end
      options[name] = value or long[name] ~= "value" or following()
    elseif word:sub(1, 1) == "-" and #word > 1 then
      letters(word)
    else
      words[#words + 1] = word
    end
    i = i + 1
  end
  return options, words, unknown
end
