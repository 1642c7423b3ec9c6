use std::{collections::BTreeMap, env, str::FromStr};

use stillpoint_model::{Error, Result};
use url::Url;

/// What the variables of clouds begin with.
const CLOUDS: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// Environment variables, passed in so that a store depends on nothing else of the process.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's own. Variables that are no text are left out.
    #[must_use]
    pub fn of_process() -> Self {
        env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
    }

    /// The same, but with those variables of the clouds alone that begin with `NAME_`, without that beginning: two vaults of one kind of
    /// cloud may need different credentials.
    pub(crate) fn of(&self, name: &str) -> Self {
        let own = |variable: &str| variable.strip_prefix(name)?.strip_prefix('_').map(str::to_owned);
        let is_clouds = |variable: &str| CLOUDS.iter().any(|cloud| variable.starts_with(cloud));
        let others = self.0.iter().filter(|(variable, _)| !is_clouds(variable));
        let mut variables: BTreeMap<String, String> = others.map(|(name, value)| (name.clone(), value.clone())).collect();
        variables.extend(self.0.iter().filter_map(|(name, value)| Some((own(name)?, value.clone()))));
        Self(variables)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Variables whose names a cloud's builder knows, in its own spelling.
    pub(crate) fn keys<K: FromStr>(&self, prefix: &str) -> impl Iterator<Item = (K, &str)> {
        self.0
            .iter()
            .filter(move |(name, _)| name.starts_with(prefix))
            .filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value.as_str())))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// The parameters of a vault URL's query. Each is taken once; one that nobody takes is an error.
pub(crate) struct Settings(BTreeMap<String, String>);

impl Settings {
    pub(crate) fn of(url: &Url) -> Result<Self> {
        let mut settings = BTreeMap::new();
        for (name, value) in url.query_pairs() {
            if settings.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(refused(&name, "is given twice"));
            }
        }
        Ok(Self(settings))
    }

    /// The text of a parameter; none where it is absent.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>> {
        self.one_of(name, &["true", "false"]).map(|found| found.map(|value| value == "true"))
    }

    /// One of these words.
    pub(crate) fn one_of(&mut self, name: &str, words: &[&str]) -> Result<Option<String>> {
        match self.text(name) {
            Some(value) if !words.contains(&value.as_str()) => Err(refused(name, format!("is one of: {}", words.join(", ")))),
            other => Ok(other),
        }
    }

    /// What is left is known to nobody.
    pub(crate) fn finish(self, known: &[&str]) -> Result<()> {
        let Some(name) = self.0.into_keys().next() else { return Ok(()) };
        Err(refused(&name, format!("is not known for such a store; known are: {}", known.join(", "))))
    }
}

/// Names the parameter and never its value, which may be a credential in the wrong place.
pub(crate) fn refused(name: &str, why: impl std::fmt::Display) -> Error {
    Error::invalid(format!("parameter '{}' of the vault URL {why}", name.escape_debug()))
}

/// How messages call a vault URL: without its parameters, and without a user and password somebody may have put in it.
pub(crate) fn shown(url: &str) -> String {
    let place = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = place.split_once("://") else { return place.escape_debug().to_string() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match authority.rsplit_once('@') {
        // In Azure's own URLs the container stands before the `@`.
        Some((user, host)) if user.contains(':') || !scheme.starts_with("abfs") => host,
        _ => authority,
    };
    format!("{scheme}://{host}{path}").escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_may_be_secret() {
        for (url, expected) in [
            ("s3://bucket/a/b?region=x#y", "s3://bucket/a/b"),
            ("s3://AKIA:secret@bucket/a", "s3://bucket/a"),
            ("s3://AKIA@bucket", "s3://bucket"),
            ("abfss://container@account.dfs.core.windows.net/a", "abfss://container@account.dfs.core.windows.net/a"),
            ("abfss://user:secret@account/a", "abfss://account/a"),
            ("file:///a/b@c", "file:///a/b@c"),
            ("no url\n?secret", "no url\\n"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn credentials_by_name_are_those_of_no_other() {
        let variables = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SESSION_TOKEN", "t"), ("PAIR_AWS_ACCESS_KEY_ID", "b"), ("HOME", "/h")];
        let all: Environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
        let pair = all.of("PAIR");
        let found = ["AWS_ACCESS_KEY_ID", "AWS_SESSION_TOKEN", "HOME"].map(|name| pair.get(name));
        assert_eq!(found, [Some("b"), None, Some("/h")]);
        assert_eq!(all.of("OTHER").get("AWS_ACCESS_KEY_ID"), None);
    }

    #[test]
    fn a_parameter_is_taken_once_and_the_rest_is_refused() {
        let settings = |query: &str| Settings::of(&Url::parse(&format!("s3://b/p?{query}")).unwrap());
        let mut some = settings("a=1&b=x%20y&c=true&d=no").unwrap();
        assert_eq!((some.text("b").as_deref(), some.text("b")), (Some("x y"), None));
        assert_eq!((some.flag("c").unwrap(), some.flag("z").unwrap()), (Some(true), None));
        assert_eq!(some.flag("d").unwrap_err().one_line(), "parameter 'd' of the vault URL is one of: true, false");
        let refused = some.finish(&["b", "c"]).unwrap_err().one_line();
        assert_eq!(refused, "parameter 'a' of the vault URL is not known for such a store; known are: b, c");
        let twice = settings("a=1&a=2").err().map(|error| error.one_line());
        assert_eq!(twice.as_deref(), Some("parameter 'a' of the vault URL is given twice"));
        settings("").unwrap().finish(&[]).unwrap();
    }
}
