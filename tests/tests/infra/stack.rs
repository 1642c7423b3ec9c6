//! A template after its expansion.

use std::{fs, sync::OnceLock};

use serde_json::Value;
use stillpoint_tests::repository;

use crate::tools;

/// Both templates, expanded, and what cfn-lint says of them.
pub struct Expanded {
    pub faults: Vec<String>,
    pub template: Stack,
    pub paired: Stack,
}

/// Expands once for all tests.
pub fn expanded() -> &'static Expanded {
    static EXPANDED: OnceLock<Expanded> = OnceLock::new();
    EXPANDED.get_or_init(|| {
        let mut result = tools::python("expand.py", &["infra/aws"]);
        let faults = strings(&result["faults"]);
        Expanded { faults, template: Stack(result["template"].take()), paired: Stack(result["paired"].take()) }
    })
}

/// The folders of `functions/` that hold a function; `standalone` is the program with all of them.
pub fn functions_of_the_repository() -> Vec<String> {
    let folders = fs::read_dir(repository().join("functions")).expect("functions/ exists");
    let names = folders.map(|entry| entry.expect("functions/ can be read").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name != "standalone").collect();
    names.sort();
    names
}

/// One string or a list of them, as policies have it.
pub fn strings(value: &Value) -> Vec<String> {
    let one = value.as_str().map(|text| vec![text.to_owned()]);
    let several = || value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    one.unwrap_or_else(several)
}

/// Whether a value points to a resource, by `Ref` or by an attribute.
pub fn points_to(value: &Value, resource: &str) -> bool {
    value["Ref"] == *resource || value["Fn::GetAtt"][0] == *resource
}

/// A template: its resources, with parameters at their defaults.
#[derive(Clone)]
pub struct Stack(pub Value);

/// A function of the stack.
pub struct Function<'a> {
    /// What it is called in the repository.
    pub name: String,
    /// What it is called in the template.
    pub id: &'a str,
    pub properties: &'a Value,
}

impl Stack {
    pub fn resource(&self, id: &str) -> &Value {
        &self.0["Resources"][id]
    }

    /// Name and properties of all resources of a type.
    pub fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let resources = self.0["Resources"].as_object().into_iter().flatten();
        resources
            .filter(move |(_, resource)| resource["Type"] == kind)
            .map(|(id, resource)| (id.as_str(), &resource["Properties"]))
    }

    /// All functions, by name.
    pub fn functions(&self) -> Vec<Function<'_>> {
        let name = |properties: &Value| {
            properties["FunctionName"].as_str().and_then(|name| name.rsplit_once('-')).map_or("?", |(_, name)| name).to_owned()
        };
        let all = self.of_type("AWS::Lambda::Function");
        let mut functions: Vec<Function<'_>> =
            all.map(|(id, properties)| Function { name: name(properties), id, properties }).collect();
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        functions
    }

    /// The name of the role of a function.
    pub fn role_of<'a>(&self, function: &'a Function<'_>) -> &'a str {
        function.properties["Role"]["Fn::GetAtt"][0].as_str().unwrap_or_default()
    }
}
