return { start = function() end, stop = function() end }
