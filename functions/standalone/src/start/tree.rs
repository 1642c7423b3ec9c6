//! Values of options: `key=value,key.key=value`, or JSON.

use serde_json::{Map, Value};

/// A value of an option that has parts.
#[derive(Debug, Clone, PartialEq)]
pub enum Parts {
    /// In order; a first part may have no key (a driver, a backend, a name), and flags have no value.
    Pairs(Vec<(String, Option<String>)>),
    Json(Value),
}

impl Parts {
    pub fn read(text: &str) -> Self {
        match serde_json::from_str::<Value>(text) {
            Ok(value @ Value::Object(_)) => Self::Json(value),
            _ => Self::Pairs(split(text).iter().map(|part| pair(part)).collect()),
        }
    }

    pub fn write(&self) -> String {
        match self {
            Self::Json(value) => value.to_string(),
            Self::Pairs(pairs) => pairs.iter().map(written).collect::<Vec<_>>().join(","),
        }
    }

    /// The value of a key at the top.
    pub fn get(&self, key: &str) -> Option<&str> {
        match self {
            Self::Json(value) => value[key].as_str(),
            Self::Pairs(pairs) => pairs.iter().find(|(known, _)| known == key)?.1.as_deref(),
        }
    }

    /// Changes each text in it, given its last key.
    pub fn change(&mut self, change: &mut dyn FnMut(&str, &str) -> Option<String>) {
        match self {
            Self::Json(value) => change_json(value, "", change),
            Self::Pairs(pairs) => {
                for (key, value) in pairs {
                    let last = key.rsplit('.').next().unwrap_or(key);
                    if let Some(new) = value.as_ref().and_then(|value| change(last, value)) {
                        *value = Some(new);
                    }
                }
            }
        }
    }

    /// A description of a block node as a tree, with texts at its leaves where it was written in pairs.
    pub fn to_tree(&self) -> Value {
        let Self::Pairs(pairs) = self else { return self.json().cloned().unwrap_or_default() };
        let mut tree = Value::Object(Map::new());
        for (position, (key, value)) in pairs.iter().enumerate() {
            let (key, value) = match value {
                None if position == 0 => ("driver", key),
                None => (key.as_str(), &"on".to_owned()),
                Some(value) => (key.as_str(), value),
            };
            let mut at = &mut tree;
            for step in key.split('.') {
                if !at.is_object() {
                    *at = Value::Object(Map::new());
                }
                at = &mut at[step];
            }
            *at = Value::String(value.clone());
        }
        tree
    }

    /// A tree in the way that this was written.
    pub fn with_tree(&self, tree: Value) -> Self {
        match self {
            Self::Json(_) => Self::Json(tree),
            Self::Pairs(_) => {
                let mut pairs = Vec::new();
                flatten(&tree, "", &mut pairs);
                Self::Pairs(pairs)
            }
        }
    }

    fn json(&self) -> Option<&Value> {
        if let Self::Json(value) = self { Some(value) } else { None }
    }
}

fn flatten(tree: &Value, prefix: &str, pairs: &mut Vec<(String, Option<String>)>) {
    for (key, value) in tree.as_object().into_iter().flatten() {
        let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Object(_) => flatten(value, &key, pairs),
            Value::String(text) => pairs.push((key, Some(text.clone()))),
            other => pairs.push((key, Some(other.to_string()))),
        }
    }
}

fn change_json(value: &mut Value, key: &str, change: &mut dyn FnMut(&str, &str) -> Option<String>) {
    match value {
        Value::String(text) => {
            if let Some(new) = change(key, text) {
                *text = new;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| change_json(value, key, change)),
        Value::Object(fields) => fields.iter_mut().for_each(|(key, value)| change_json(value, key, change)),
        _ => {}
    }
}

/// Splits at single commas; a comma that is meant stands twice.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let last = parts.len() - 1;
        if letter != ',' {
            parts[last].push(letter);
        } else if letters.next_if_eq(&',').is_some() {
            parts[last].push(',');
        } else {
            parts.push(String::new());
        }
    }
    parts
}

fn pair(part: &str) -> (String, Option<String>) {
    match part.split_once('=') {
        // What is no key is part of the value: a path, an address.
        Some((key, value)) if key.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) => {
            (key.to_owned(), Some(value.to_owned()))
        }
        _ => (part.to_owned(), None),
    }
}

fn written((key, value): &(String, Option<String>)) -> String {
    let text = value.as_ref().map_or_else(|| key.clone(), |value| format!("{key}={value}"));
    text.replace(',', ",,")
}
