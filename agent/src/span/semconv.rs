//! Names and fixed values of the OpenTelemetry semantic conventions, in the one version that spanwire speaks.
//!
//! The names are written out here rather than taken from the `opentelemetry-semantic-conventions` crate: it lags
//! behind the conventions, and a few dozen constants are no reason to follow its releases.

/// Schema URL of the conventions that every name and value of this agent follows.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.44.0";

/// Name of the instrumentation scope of all spans.
pub const SCOPE_NAME: &str = "spanwire";

/// Version of the instrumentation scope of all spans.
pub const SCOPE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// `http.request.method` and `error.type` of what has no name of its own.
pub const OTHER: &str = "_OTHER";

/// Methods that `http.request.method` may say without being told: RFC 9110, PATCH of RFC 5789, and QUERY.
pub const KNOWN_METHODS: &[&str] = &[
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY",
];

/// Event of ours, not of the conventions: the first byte of the final response was seen.
pub const EVENT_FIRST_BYTE: &str = "http.response.first_byte";

/// Client behind all proxies, else the peer.
pub const CLIENT_ADDRESS: &str = "client.address";
/// What names of attributes begin with that are made of labels of containers. These come last of a resource's.
pub const CONTAINER_LABEL: &str = "container.label.";
/// Table or view, where the statement has one alone.
pub const DB_COLLECTION_NAME: &str = "db.collection.name";
/// Database of the session.
pub const DB_NAMESPACE: &str = "db.namespace";
/// Command, where the statement has one alone.
pub const DB_OPERATION_NAME: &str = "db.operation.name";
/// Operations and their targets.
pub const DB_QUERY_SUMMARY: &str = "db.query.summary";
/// Text of the statement.
pub const DB_QUERY_TEXT: &str = "db.query.text";
/// Rows that the statement returned.
pub const DB_RESPONSE_RETURNED_ROWS: &str = "db.response.returned_rows";
/// SQLSTATE.
pub const DB_RESPONSE_STATUS_CODE: &str = "db.response.status_code";
/// Product.
pub const DB_SYSTEM_NAME: &str = "db.system.name";
/// Class of error that the operation ended with.
pub const ERROR_TYPE: &str = "error.type";
/// Length of the request's content in bytes.
pub const HTTP_REQUEST_BODY_SIZE: &str = "http.request.body.size";
/// Method, where it is a known one.
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
/// Method as it was sent, where it is not a known one.
pub const HTTP_REQUEST_METHOD_ORIGINAL: &str = "http.request.method_original";
/// Prefix of a request header's attribute; the lower-case name follows.
pub const HTTP_REQUEST_HEADER: &str = "http.request.header.";
/// Length of the response's content in bytes.
pub const HTTP_RESPONSE_BODY_SIZE: &str = "http.response.body.size";
/// Prefix of a response header's attribute; the lower-case name follows.
pub const HTTP_RESPONSE_HEADER: &str = "http.response.header.";
/// Status code of the final response.
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";
/// Route that the request's path is of, in the words of the server.
pub const HTTP_ROUTE: &str = "http.route";
/// The destination's name was made up for the occasion.
pub const MESSAGING_DESTINATION_ANONYMOUS: &str = "messaging.destination.anonymous";
/// Where a message goes, or came from.
pub const MESSAGING_DESTINATION_NAME: &str = "messaging.destination.name";
/// Length of the message's body in bytes.
pub const MESSAGING_MESSAGE_BODY_SIZE: &str = "messaging.message.body.size";
/// Prefix of a message header's attribute; the name follows. As OpenTelemetry's own agents have it: the conventions have none.
pub const MESSAGING_HEADER: &str = "messaging.header.";
/// What question and answer have in common.
pub const MESSAGING_MESSAGE_CONVERSATION_ID: &str = "messaging.message.conversation_id";
/// Id of the message.
pub const MESSAGING_MESSAGE_ID: &str = "messaging.message.id";
/// Operation, as the system names it.
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
/// Which kind of operation that is.
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
/// Delivery tag.
pub const MESSAGING_RABBITMQ_DELIVERY_TAG: &str = "messaging.rabbitmq.message.delivery_tag";
/// Routing key.
pub const MESSAGING_RABBITMQ_ROUTING_KEY: &str = "messaging.rabbitmq.destination.routing_key";
/// Product.
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// Attribute of ours: the broker has delivered the message before.
pub const MESSAGE_REDELIVERED: &str = "spanwire.messaging.redelivered";
/// Attribute of ours: what the consumer did with the message.
pub const MESSAGE_SETTLEMENT: &str = "spanwire.messaging.settlement";
/// Address of the connection's other end.
pub const NETWORK_PEER_ADDRESS: &str = "network.peer.address";
/// Port of the connection's other end.
pub const NETWORK_PEER_PORT: &str = "network.peer.port";
/// Protocol of the call's transport.
pub const NETWORK_PROTOCOL_NAME: &str = "network.protocol.name";
/// Version of HTTP on the wire.
pub const NETWORK_PROTOCOL_VERSION: &str = "network.protocol.version";
/// Transport, where it is not TCP.
pub const NETWORK_TRANSPORT: &str = "network.transport";
/// Host that the request is for.
pub const SERVER_ADDRESS: &str = "server.address";
/// Port that the request is for.
pub const SERVER_PORT: &str = "server.port";
/// Name of the service that is asked.
pub const SERVICE_PEER_NAME: &str = "service.peer.name";
/// Its namespace.
pub const SERVICE_PEER_NAMESPACE: &str = "service.peer.namespace";
/// Name of the service, a resource attribute.
pub const SERVICE_NAME: &str = "service.name";
/// Port of the connection's client end.
pub const CLIENT_PORT: &str = "client.port";
/// Service and method of a call, `_OTHER` where the server knows no such method.
pub const RPC_METHOD: &str = "rpc.method";
/// Method as the client named it, where `rpc.method` is another.
pub const RPC_METHOD_ORIGINAL: &str = "rpc.method_original";
/// Prefix of the attribute of a call's metadata; the lower-case name follows.
pub const RPC_REQUEST_METADATA: &str = "rpc.request.metadata.";
/// Prefix of the attribute of an answer's metadata; the lower-case name follows.
pub const RPC_RESPONSE_METADATA: &str = "rpc.response.metadata.";
/// Name of the status that a call ended with.
pub const RPC_RESPONSE_STATUS_CODE: &str = "rpc.response.status_code";
/// Which protocol of calls.
pub const RPC_SYSTEM_NAME: &str = "rpc.system.name";
/// Attribute of ours: messages that the client sent in a call.
pub const RPC_REQUEST_MESSAGES: &str = "spanwire.rpc.request.messages";
/// Attribute of ours: how many of them were compressed.
pub const RPC_REQUEST_MESSAGES_COMPRESSED: &str = "spanwire.rpc.request.messages.compressed";
/// Attribute of ours: messages that the server sent in a call.
pub const RPC_RESPONSE_MESSAGES: &str = "spanwire.rpc.response.messages";
/// Attribute of ours: how many of them were compressed.
pub const RPC_RESPONSE_MESSAGES_COMPRESSED: &str = "spanwire.rpc.response.messages.compressed";
/// Attribute of ours: how long the client was ready to wait for a call, in microseconds.
pub const RPC_TIMEOUT: &str = "spanwire.rpc.timeout_us";
/// Attribute of ours: so many fields of the request's head refer to what was sent before anything was seen.
pub const REQUEST_HEAD_UNKNOWN_FIELDS: &str = "spanwire.request.head.unknown_fields";
/// Attribute of ours: the same of the response's head.
pub const RESPONSE_HEAD_UNKNOWN_FIELDS: &str = "spanwire.response.head.unknown_fields";
/// Attribute of ours: the exchange is not over; the span says how far it has come, and comes again.
pub const OPEN: &str = "spanwire.open";
/// Attribute of ours: the parent was concluded from what the process had in flight, and not seen.
pub const PARENT_INFERRED: &str = "spanwire.parent.inferred";
/// Attribute of ours: the request that it was sent for was over before it began.
pub const PARENT_ENDED: &str = "spanwire.parent.ended";
/// Attribute of ours: bytes of the request may have been lost.
pub const REQUEST_LOSSY: &str = "spanwire.request.lossy";
/// Attribute of ours: bytes of the response may have been lost.
pub const RESPONSE_LOSSY: &str = "spanwire.response.lossy";
/// Attribute of ours: the request's head was longer than what is kept of one.
pub const REQUEST_HEAD_TRUNCATED: &str = "spanwire.request.head.truncated";
/// Attribute of ours: the response's head was longer than what is kept of one.
pub const RESPONSE_HEAD_TRUNCATED: &str = "spanwire.response.head.truncated";
/// Attribute of ours: the end of the statement's text is missing.
pub const QUERY_TEXT_TRUNCATED: &str = "spanwire.db.query.text.truncated";
/// Attribute of ours: name of the prepared statement that was executed.
pub const STATEMENT_NAME: &str = "spanwire.db.statement.name";
/// Whole URL of an outgoing request.
pub const URL_FULL: &str = "url.full";
/// Path of an incoming request.
pub const URL_PATH: &str = "url.path";
/// Query of an incoming request, without `?`.
pub const URL_QUERY: &str = "url.query";
/// Scheme of an incoming request.
pub const URL_SCHEME: &str = "url.scheme";
/// `User-Agent` as it was sent.
pub const USER_AGENT_ORIGINAL: &str = "user_agent.original";
