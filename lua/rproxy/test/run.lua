local M = {}
function M.main(argv)
    local chunk = assert(loadfile(argv[1]))
    package.path = "./?.lua;./?/init.lua;" .. package.path
    chunk()
    return 0
end
return M
