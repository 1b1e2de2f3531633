//! The rules of a role, with who gave them.

use std::path::PathBuf;

use teredo_control::server::SetError;
use teredo_control::{AllowedRule, Origin, RuleChange};
use teredo_proto::policy::RULES_MAX;

use super::owner::USERS;
use super::rule::AllowRule;

/// Everything that a role is told to let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// By the command line or a file.
    pub(crate) given: Vec<AllowRule>,
    /// The file.
    pub(crate) file: Option<PathBuf>,
    /// Those added while it ran.
    pub(crate) added: Vec<AllowRule>,
}

impl Rules {
    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &AllowRule> {
        self.given.iter().chain(&self.added)
    }

    /// Whether there are as few as there may be.
    pub(crate) fn fit(&self) -> bool {
        self.given.len() + self.added.len() <= RULES_MAX
    }

    /// These rules after a change that somebody asks for.
    ///
    /// # Errors
    /// Why they stay as they are, in words for that person.
    pub(crate) fn changed(&self, change: &RuleChange) -> Result<Self, SetError> {
        let (RuleChange::Add(text) | RuleChange::Remove(text)) = change;
        let rule: AllowRule = text.parse().map_err(|_| SetError::Invalid("rule"))?;
        let mut rules = self.clone();
        match change {
            RuleChange::Add(_) if rules.iter().any(|known| *known == rule) => {}
            RuleChange::Add(_) => {
                if let Some(name) = rule.unknown_user() {
                    return Err(SetError::Failed(format!("there is no user {name} in {USERS}")));
                }
                rules.added.push(rule);
                if !rules.fit() {
                    return Err(SetError::Failed(format!("more than {RULES_MAX} rules")));
                }
            }
            RuleChange::Remove(_) => {
                if rules.given.contains(&rule) {
                    return Err(SetError::Failed(match &rules.file {
                        Some(file) => {
                            format!("{rule} stands in {}: take it out there", file.display())
                        }
                        None => format!("{rule} stands in the command line, which decides"),
                    }));
                }
                let before = rules.added.len();
                rules.added.retain(|known| *known != rule);
                if rules.added.len() == before {
                    return Err(SetError::Failed(format!("there is no rule {rule}")));
                }
            }
        }
        Ok(rules)
    }

    /// Each rule as it is told; `ports` are those that a rule by owner stands for, by its place.
    pub(crate) fn listing<'a>(
        &self,
        mut ports: impl FnMut(usize) -> Option<&'a [String]>,
    ) -> Vec<AllowedRule> {
        let file = self.file.as_ref().map(|file| file.display().to_string());
        let given = if file.is_some() { Origin::File } else { Origin::CommandLine };
        let of_file = |origin| file.clone().filter(|_| origin == Origin::File);
        let told = |(at, rule): (usize, &AllowRule)| {
            let origin = if at < self.given.len() { given } else { Origin::RunTime };
            let is_owned = matches!(rule, AllowRule::Owned { .. });
            let ports = is_owned.then(|| ports(at).unwrap_or_default().to_vec());
            AllowedRule { rule: rule.to_string(), origin, file: of_file(origin), ports }
        };
        self.iter().enumerate().map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(file: Option<&str>) -> Rules {
        let given = vec!["tcp/22".parse().unwrap()];
        Rules { given, file: file.map(PathBuf::from), added: Vec::new() }
    }

    fn failure(rules: &Rules, change: RuleChange) -> String {
        match rules.changed(&change) {
            Err(SetError::Failed(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rules_add_up_and_only_those_added_can_be_removed() {
        let add = |text: &str| RuleChange::Add(text.to_owned());
        let remove = |text: &str| RuleChange::Remove(text.to_owned());
        let before = rules(Some("/etc/teredo/teredo.toml"));
        let after = before.changed(&add("user:1000")).unwrap();
        assert_eq!(after.added, ["user:1000".parse().unwrap()]);
        for known in ["user:1000", "tcp/22"] {
            assert_eq!(after.changed(&add(known)).unwrap(), after, "it holds already");
        }
        assert_eq!(after.changed(&remove("user:1000")).unwrap(), before);
        assert_eq!(
            failure(&before, remove("tcp/22")),
            "tcp/22 stands in /etc/teredo/teredo.toml: take it out there"
        );
        let why = failure(&rules(None), remove("tcp/22"));
        assert_eq!(why, "tcp/22 stands in the command line, which decides");
        assert_eq!(failure(&before, remove("echo")), "there is no rule echo");
        let why = failure(&before, add("user:nobody-is-called-so"));
        assert_eq!(why, "there is no user nobody-is-called-so in /etc/passwd");
        assert_eq!(before.changed(&add("tcp/x")), Err(SetError::Invalid("rule")));
    }

    #[test]
    fn there_are_not_more_than_a_policy_holds() {
        let mut many = rules(None);
        for port in 0..RULES_MAX - 1 {
            many = many.changed(&RuleChange::Add(format!("udp/{port}"))).unwrap();
        }
        assert_eq!(failure(&many, RuleChange::Add("echo".to_owned())), "more than 256 rules");
    }
}
