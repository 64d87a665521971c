--- ebtables: there, and with nothing to do in the emulator.
return function() return 0 end
