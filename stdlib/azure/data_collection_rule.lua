--- A data collection rule: what the Azure Monitor agent takes on machines, and where that goes.
local statement, field, json = require "azure.statement", require "field", require "json"

local FACILITIES = { "*", "alert", "audit", "auth", "authpriv", "clock", "cron", "daemon", "ftp", "kern", "local0", "local1", "local2",
  "local3", "local4", "local5", "local6", "local7", "lpr", "mail", "mark", "news", "nopri", "ntp", "syslog", "user", "uucp" }

--- A list of data sources of one sort: each has a name, streams and fields of its own.
local function sources(arm, streams, fields, doc)
  fields.name = field.string { required = true, arm = "name" }
  fields.streams = field.list { field.string { match = "^[%w_-]+$" }, arm = "streams", min = 1, default = streams,
    required = not streams or nil, doc = "The streams that it feeds." }
  fields.transform = field.string { arm = "transformKql", doc = "A query that each record passes." }
  return field.list { field.object { fields }, key = "name", arm = "properties.dataSources." .. arm, doc = doc }
end

local function to_streams(map)
  local streams = {}
  for name, columns in pairs(map) do
    local list = {}
    for i, column in ipairs(columns) do list[i] = { name = column.name, type = column.type } end
    streams[name] = { columns = json.array(list) }
  end
  return streams
end

local function from_streams(streams)
  local map = {}
  for name, stream in pairs(streams) do map[name] = stream.columns end
  return map
end

return statement.define {
  kind = "data_collection_rule", doc = "A data collection rule.", type = "Microsoft.Insights/dataCollectionRules", api = "2024-03-11",
  read_only = { "properties.immutableId", "properties.endpoints", "properties.metadata", "properties.ingestionQuotas" },
  fields = {
    name = field.string { required = true, replace = true, default_name = true, match = "^[%w][%w_.-]*$", max = 64,
      doc = "The name in Azure; the resource's own name unless given." },
    kind = field.choice { "Linux", "Windows", replace = true, arm = "kind", doc = "The machines it is for; both unless given." },
    description = field.string { arm = "properties.description" },
    endpoint = field.string { match = "^/", arm = "properties.dataCollectionEndpointId", doc = "The id of a data collection endpoint." },
    syslog = sources("syslog", { "Microsoft-Syslog" }, {
      facilities = field.list { field.choice(FACILITIES), required = true, min = 1, arm = "facilityNames" },
      levels = field.list { field.choice { "*", "Debug", "Info", "Notice", "Warning", "Error", "Critical", "Alert", "Emergency" },
        required = true, min = 1, arm = "logLevels" },
    }, "Messages of syslog."),
    performance = sources("performanceCounters", { "Microsoft-Perf" }, {
      interval = field.integer { default = 60, min = 1, max = 1800, arm = "samplingFrequencyInSeconds", doc = "Seconds." },
      counters = field.list { field.string {}, required = true, min = 1, arm = "counterSpecifiers",
        doc = "Such as Processor(*)\\% Idle Time." },
    }, "Performance counters."),
    windows_events = sources("windowsEventLogs", { "Microsoft-Event" }, {
      queries = field.list { field.string {}, required = true, min = 1, arm = "xPathQueries",
        doc = "Such as System!*[System[(Level<=3)]]." },
    }, "Windows event logs."),
    log_files = sources("logFiles", nil, {
      paths = field.list { field.string {}, required = true, min = 1, arm = "filePatterns" },
      format = field.choice { "text", "json", required = true, arm = "format" },
      timestamp = field.choice { "ISO 8601", "YYYY-MM-DD HH:MM:SS", "M/D/YYYY HH:MM:SS AM/PM", "Mon DD, YYYY HH:MM:SS",
        "yyMMdd HH:mm:ss", "ddMMyy HH:mm:ss", "MMM d hh:mm:ss", "dd/MMM/yyyy:HH:mm:ss zzz", "yyyy-MM-ddTHH:mm:ssK",
        arm = "settings.text.recordStartTimestampFormat", doc = "How a record of a text file begins." },
    }, "Lines of files."),
    extensions = sources("extensions", nil, {
      extension = field.string { required = true, arm = "extensionName" },
      settings = field.any { arm = "extensionSettings" },
      inputs = field.list { field.string {}, arm = "inputDataSources", doc = "Names of data sources that it reads." },
    }, "What extensions of the agent collect."),
    streams = field.map { field.list { field.object { name = field.string { required = true },
      type = field.choice { "string", "int", "long", "real", "boolean", "datetime", "dynamic", required = true } } },
      arm = "properties.streamDeclarations", to = to_streams, from = from_streams, whole = true,
      doc = "Columns of streams of one's own, by names that begin with Custom-." },
    workspaces = field.list { field.object { name = field.string { required = true, arm = "name" },
      workspace = field.resource { "azure.log_analytics_workspace", "azure.existing", required = true, arm = "workspaceResourceId",
        arm_id = true } }, key = "name", arm = "properties.destinations.logAnalytics", doc = "Log Analytics workspaces to send to." },
    metrics_name = field.string { arm = "properties.destinations.azureMonitorMetrics.name",
      doc = "The name by which flows send to Azure Monitor's metrics." },
    flows = field.list { field.object {
      streams = field.list { field.string {}, required = true, min = 1, arm = "streams" },
      destinations = field.list { field.string {}, required = true, min = 1, arm = "destinations", doc = "Names of destinations." },
      transform = field.string { arm = "transformKql", doc = "A query that each record passes." },
      output_stream = field.string { arm = "outputStream", doc = "The table that it ends in, such as Custom-Nginx_CL." },
    }, required = true, min = 1, arm = "properties.dataFlows", doc = "Which streams go where." },
  },
  outputs = { immutable_id = field.string { arm = "properties.immutableId", doc = "The id that agents name it by." } },
}
