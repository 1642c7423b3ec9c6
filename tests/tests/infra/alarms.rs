//! What says that something is wrong.

use serde_json::Value;

use crate::{
    stack::{Function, Stack, points_to},
    triggers::{SITE, is_timed, topology},
};

fn dimension<'a>(alarm: &'a Value, name: &str) -> &'a Value {
    let all = alarm["Dimensions"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().find(|one| one["Name"] == name).map_or(&Value::Null, |one| &one["Value"])
}

/// Whether an alarm goes off at the first of what it counts, and tells somebody.
fn goes_off_at_once(alarm: &Value) -> bool {
    alarm["ComparisonOperator"] == "GreaterThanThreshold" && alarm["Threshold"] == 0 && tells(alarm)
}

fn tells(alarm: &Value) -> bool {
    alarm["AlarmActions"].as_array().is_some_and(|actions| actions.iter().any(|action| points_to(action, "Alarms")))
        && alarm["EvaluationPeriods"] == 1
        && alarm.get("ActionsEnabled").is_none_or(|enabled| enabled == true)
}

fn of_function<'a>(stack: &'a Stack, function: &'a Function<'a>, metric: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = stack.of_type("AWS::CloudWatch::Alarm").map(|(_, alarm)| alarm);
    let of_metric = all.filter(move |alarm| alarm["Namespace"] == "AWS/Lambda" && alarm["MetricName"] == metric);
    of_metric.filter(move |alarm| points_to(dimension(alarm, "FunctionName"), function.id))
}

/// Errors and throttles of each function, and what its queues gave up.
pub fn per_function(stack: &Stack) -> Vec<String> {
    let mut faults = Vec::new();
    for function in stack.functions() {
        for metric in ["Errors", "Throttles"] {
            if !of_function(stack, &function, metric).any(goes_off_at_once) {
                faults.push(format!("no alarm for {metric} of {}", function.name));
            }
        }
        if !is_timed(&function) && !has_dead_letter_alarm(stack, &function.name) {
            faults.push(format!("no alarm for dead letters of {}", function.name));
        }
    }
    faults
}

fn has_dead_letter_alarm(stack: &Stack, function: &str) -> bool {
    let Ok(function) = function.parse() else { return false };
    let queue = topology(SITE).dead_of(function);
    stack.of_type("AWS::CloudWatch::Alarm").any(|(_, alarm)| {
        alarm["Namespace"] == "AWS/AmazonMQ"
            && alarm["MetricName"] == "MessageCount"
            && alarm["Statistic"] == "Maximum"
            && *dimension(alarm, "Queue") == queue
            && *dimension(alarm, "VirtualHost") == "/"
            // CloudWatch knows a broker by its name, not by its id.
            && *dimension(alarm, "Broker") == stack.resource("Broker")["Properties"]["BrokerName"]
            && goes_off_at_once(alarm)
    })
}

/// A timer that does not run raises no error: its silence must.
pub fn silence(stack: &Stack) -> Vec<String> {
    let is_dead_mans = |alarm: &Value| {
        let is_below_one = alarm["ComparisonOperator"] == "LessThanThreshold" && alarm["Threshold"] == 1;
        let is_quick = alarm["Period"].as_u64().is_some_and(|seconds| seconds <= 300);
        is_below_one && is_quick && alarm["TreatMissingData"] == "breaching" && tells(alarm)
    };
    let functions = stack.functions();
    let timed = functions.iter().filter(|function| is_timed(function));
    let mute = timed.filter(|function| !of_function(stack, function, "Invocations").any(is_dead_mans));
    mute.map(|function| format!("no alarm when {} does not run", function.name)).collect()
}
