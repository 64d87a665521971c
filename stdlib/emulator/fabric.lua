return { dial = function() return nil, "timeout" end, machine_at = function() end }
