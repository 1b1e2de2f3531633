//! Calls and replies.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::rules::RuleChange;
use crate::status::{Settings, Status};
use crate::varlink::error::CallError;
use crate::varlink::frame::encode;
use crate::varlink::interface::{INTERFACE, SERVICE_INTERFACE};

/// A call as it is on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Interface and method.
    pub method: String,
    /// Its arguments by name.
    #[serde(default, deserialize_with = "null_is_default")]
    pub parameters: Map<String, Value>,
    /// The caller wants more than one reply.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_is_default")]
    pub more: bool,
    /// The caller wants no reply.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_is_default")]
    pub oneway: bool,
}

impl Call {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is not JSON, or no call. Nobody who speaks Varlink sends such a thing.
    pub fn parse(message: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(message)
    }

    /// What is wanted of us.
    ///
    /// # Errors
    /// The error to reply.
    pub fn request(self) -> Result<Request, CallError> {
        let Self { method, parameters, more, .. } = self;
        let (interface, name) = method.rsplit_once('.').unwrap_or((&method, ""));
        match (interface, name) {
            (INTERFACE, "GetStatus") => {
                none(&parameters).map(|()| Request::GetStatus { subscribe: more })
            }
            (INTERFACE, "Wake") => none(&parameters).map(|()| Request::Wake),
            (INTERFACE, "SetState") => settings(parameters).map(Request::SetState),
            (INTERFACE, "ListRules") => none(&parameters).map(|()| Request::ListRules),
            (INTERFACE, "AddRule") => {
                rule(parameters).map(|rule| Request::ChangeRules(RuleChange::Add(rule)))
            }
            (INTERFACE, "RemoveRule") => {
                rule(parameters).map(|rule| Request::ChangeRules(RuleChange::Remove(rule)))
            }
            (SERVICE_INTERFACE, "GetInfo") => none(&parameters).map(|()| Request::GetInfo),
            (SERVICE_INTERFACE, "GetInterfaceDescription") => {
                let interface = parameters.get("interface").and_then(Value::as_str);
                let interface = interface.ok_or_else(|| invalid("interface"))?.to_owned();
                Ok(Request::GetInterfaceDescription { interface })
            }
            (INTERFACE | SERVICE_INTERFACE, _) => Err(CallError::MethodNotFound(method)),
            _ => Err(CallError::InterfaceNotFound(interface.to_owned())),
        }
    }
}

/// Everything that can be asked of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// What the service is.
    GetInfo,
    /// How an interface is to be used.
    GetInterfaceDescription {
        /// Its name.
        interface: String,
    },
    /// What is the case.
    GetStatus {
        /// Also after every change.
        subscribe: bool,
    },
    /// A dormant client is to qualify.
    Wake,
    /// Change settings.
    SetState(Settings),
    /// What may come in unasked.
    ListRules,
    /// Change what may come in unasked.
    ChangeRules(RuleChange),
}

impl Request {
    /// The message for it.
    pub fn encode(&self) -> Vec<u8> {
        let more = matches!(self, Self::GetStatus { subscribe: true });
        let (interface, method, parameters) = match self {
            Self::GetInfo => (SERVICE_INTERFACE, "GetInfo", json!({})),
            Self::GetInterfaceDescription { interface } => {
                let parameters = json!({ "interface": interface });
                (SERVICE_INTERFACE, "GetInterfaceDescription", parameters)
            }
            Self::GetStatus { .. } => (INTERFACE, "GetStatus", json!({})),
            Self::Wake => (INTERFACE, "Wake", json!({})),
            Self::SetState(settings) => (INTERFACE, "SetState", json!(settings)),
            Self::ListRules => (INTERFACE, "ListRules", json!({})),
            Self::ChangeRules(RuleChange::Add(rule)) => {
                (INTERFACE, "AddRule", json!({ "rule": rule }))
            }
            Self::ChangeRules(RuleChange::Remove(rule)) => {
                (INTERFACE, "RemoveRule", json!({ "rule": rule }))
            }
        };
        let mut call =
            json!({ "method": format!("{interface}.{method}"), "parameters": parameters });
        if more {
            call["more"] = true.into();
        }
        encode(&call)
    }
}

/// A reply as it is on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// The results by name, or what goes with the error.
    #[serde(default, deserialize_with = "null_is_default")]
    pub parameters: Map<String, Value>,
    /// More replies to the same call follow.
    #[serde(default, skip_serializing_if = "is_false", deserialize_with = "null_is_default")]
    pub continues: bool,
    /// The name of the error, for a call that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Reply {
    /// Reads a message.
    ///
    /// # Errors
    /// When it is not JSON, or no reply.
    pub fn parse(message: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(message)
    }

    /// The results of a call that succeeded.
    ///
    /// # Errors
    /// The error that the call failed with; [`CallError::Other`] also for results that are not `T`.
    pub fn result<T: DeserializeOwned>(self) -> Result<T, CallError> {
        if let Some(error) = &self.error {
            return Err(CallError::parse(error, &self.parameters));
        }
        serde_json::from_value(Value::Object(self.parameters))
            .map_err(|error| CallError::Other(error.to_string()))
    }

    /// The message for results, which must be a structure.
    pub(crate) fn success(results: &impl Serialize) -> Vec<u8> {
        encode(&json!({ "parameters": results }))
    }

    /// The message for a status; `continues` if more will follow.
    pub(crate) fn status(status: &Status, continues: bool) -> Vec<u8> {
        if continues {
            encode(&json!({ "parameters": status, "continues": true }))
        } else {
            Self::success(status)
        }
    }

    /// The message for an error.
    pub(crate) fn failure(error: &CallError) -> Vec<u8> {
        encode(&json!({ "error": error.name(), "parameters": error.parameters() }))
    }
}

/// What a service tells about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Who made it.
    pub vendor: String,
    /// What it is.
    pub product: String,
    /// Which version.
    pub version: String,
    /// Where to read more.
    pub url: String,
    /// The names of its interfaces.
    pub interfaces: Vec<String>,
}

/// No parameters are known: an unknown one is an error, or a misspelt setting would be "done".
fn none(parameters: &Map<String, Value>) -> Result<(), CallError> {
    parameters.keys().next().map_or(Ok(()), |name| Err(invalid(name)))
}

fn settings(parameters: Map<String, Value>) -> Result<Settings, CallError> {
    // One by one first, so that the error names the parameter.
    for (name, value) in &parameters {
        let alone = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
        serde_json::from_value::<Settings>(alone).map_err(|_| invalid(name))?;
    }
    let settings: Settings =
        serde_json::from_value(Value::Object(parameters)).map_err(|_| invalid("parameters"))?;
    if settings.refresh_interval_s == Some(0) {
        return Err(invalid("refresh_interval_s"));
    }
    let fits = |name: &String| (1..=SERVER_NAME_LEN_MAX).contains(&name.len());
    if !settings.server_name.as_ref().is_none_or(fits) {
        return Err(invalid("server_name"));
    }
    if settings.reset.iter().any(|&name| settings.names(name)) {
        return Err(invalid("reset"));
    }
    Ok(settings)
}

/// The parameter `rule`, and no other.
fn rule(mut parameters: Map<String, Value>) -> Result<String, CallError> {
    let rule = match parameters.remove("rule") {
        Some(Value::String(rule)) => Some(rule).filter(|rule| rule.len() <= RULE_LEN_MAX),
        Some(_) | None => None,
    };
    let rule = rule.ok_or_else(|| invalid("rule"))?;
    none(&parameters).map(|()| rule)
}

fn invalid(parameter: &str) -> CallError {
    CallError::InvalidParameter(parameter.to_owned())
}

fn null_is_default<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(from).map(Option::unwrap_or_default)
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The longest domain name (RFC 1035 section 2.3.4).
const SERVER_NAME_LEN_MAX: usize = 253;
/// More than the longest rule takes: the name of a unit has 255 bytes at most, a prefix 43.
const RULE_LEN_MAX: usize = 320;
