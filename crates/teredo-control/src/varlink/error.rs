//! What a call can fail with.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::varlink::frame::MESSAGE_LEN_MAX;

/// An error reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// There is no such interface.
    InterfaceNotFound(String),
    /// The interface has no such method.
    MethodNotFound(String),
    /// A parameter, by name, is missing, of the wrong type or outside its range.
    InvalidParameter(String),
    /// The caller may not do that.
    PermissionDenied,
    /// A setting was valid and could not be applied; the daemon's words.
    SetFailed(String),
    /// There are too many connections.
    TooManyClients,
    /// The call was longer than the service takes; the connection is closed.
    MessageTooLong,
    /// An error that this version does not know, by name.
    Other(String),
}

impl CallError {
    /// Its name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::InterfaceNotFound(_) => "org.varlink.service.InterfaceNotFound",
            Self::MethodNotFound(_) => "org.varlink.service.MethodNotFound",
            Self::InvalidParameter(_) => "org.varlink.service.InvalidParameter",
            Self::PermissionDenied => "org.varlink.service.PermissionDenied",
            Self::SetFailed(_) => "org.teredo.Client.SetFailed",
            Self::TooManyClients => "org.teredo.Client.TooManyClients",
            Self::MessageTooLong => "org.teredo.Client.MessageTooLong",
            Self::Other(name) => name,
        }
    }

    /// What goes with it on the wire.
    pub fn parameters(&self) -> Value {
        match self {
            Self::InterfaceNotFound(interface) => json!({ "interface": interface }),
            Self::MethodNotFound(method) => json!({ "method": method }),
            Self::InvalidParameter(parameter) => json!({ "parameter": parameter }),
            Self::SetFailed(message) => json!({ "message": message }),
            Self::MessageTooLong => json!({ "limit": MESSAGE_LEN_MAX }),
            Self::PermissionDenied | Self::TooManyClients | Self::Other(_) => json!({}),
        }
    }

    /// The error that a reply names.
    pub(crate) fn parse(name: &str, parameters: &Map<String, Value>) -> Self {
        let text = |key| parameters.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        match name {
            "org.varlink.service.InterfaceNotFound" => Self::InterfaceNotFound(text("interface")),
            "org.varlink.service.MethodNotFound" => Self::MethodNotFound(text("method")),
            "org.varlink.service.InvalidParameter" => Self::InvalidParameter(text("parameter")),
            "org.varlink.service.PermissionDenied" => Self::PermissionDenied,
            "org.teredo.Client.SetFailed" => Self::SetFailed(text("message")),
            "org.teredo.Client.TooManyClients" => Self::TooManyClients,
            "org.teredo.Client.MessageTooLong" => Self::MessageTooLong,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InterfaceNotFound(interface) => write!(f, "there is no interface {interface}"),
            Self::MethodNotFound(method) => write!(f, "there is no method {method}"),
            Self::InvalidParameter(parameter) => write!(f, "{parameter} is not valid"),
            Self::PermissionDenied => f.write_str("permission denied"),
            Self::SetFailed(message) => f.write_str(message),
            Self::TooManyClients => f.write_str("too many connections"),
            Self::MessageTooLong => f.write_str("the message is too long"),
            Self::Other(error) => f.write_str(error),
        }
    }
}

impl std::error::Error for CallError {}
