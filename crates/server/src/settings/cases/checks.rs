//! The checks of one setting.

use super::suite::{Case, FILE, Input, Suite};
use crate::settings::setting::{Kind, Setting, Unset};

impl<C> Suite<C> {
    /// Runs all cases. Returns a line for each failure, and how many checks there were.
    pub fn run(&self) -> (Vec<String>, usize) {
        let mut run = Run { suite: self, failures: Vec::new(), checks: 0 };
        for setting in self.table.settings {
            match self.cases.iter().find(|case| case.variable == setting.variable) {
                Some(case) => run.check(setting, case),
                None => run.failures.push(format!("{}: there is no case", setting.variable)),
            }
        }
        for case in &self.cases {
            if self.table.of_variable(case.variable).is_none() {
                run.failures.push(format!("{}: is not a setting", case.variable));
            }
        }
        (run.failures, run.checks)
    }
}

/// A run of the checks.
struct Run<'s, C> {
    suite: &'s Suite<C>,
    failures: Vec<String>,
    checks: usize,
}

impl<C> Run<'_, C> {
    /// Checks one setting.
    fn check(&mut self, setting: &Setting, case: &Case<C>) {
        self.check_unset(setting, case);
        self.check_set(setting, case);
        if matches!(setting.kind, Kind::Secret { .. }) {
            self.check_secret(setting, case);
        }
        self.check_types(setting, case);
        self.check_values(setting, case);
        self.check_bounds(setting, case);
        self.check_names(setting, case);
    }

    fn check_unset(&mut self, setting: &Setting, case: &Case<C>) {
        match setting.unset {
            Unset::Required(advice) => {
                self.fails(setting, "unset", Input::default(), setting.variable, advice);
                let input = Input { file: Some(String::new()), ..Input::default() };
                let start = match setting.kind {
                    Kind::Secret { .. } => setting.variable.to_owned(),
                    _ => format!("{FILE}:1:1: error: {}", setting.place()),
                };
                self.fails(setting, "unset in a file", input, &start, advice);
            }
            Unset::Default(value) => {
                let given = self.suite.read(setting, &by_variable(setting, case, value));
                let expect = given.as_ref().map(case.observe).unwrap_or_else(|e| e.join("; "));
                self.sees(setting, "unset", &Input::default(), case, &expect);
            }
            Unset::Otherwise(_) => match self.suite.read(setting, &Input::default()) {
                Ok(config) => {
                    let seen = (case.observe)(&config);
                    if case.seen.contains(&seen) {
                        self.failures.push(format!("{}: unset is {seen}", setting.variable));
                    }
                }
                Err(errors) => self.failures.push(format!("{}: {errors:?}", setting.variable)),
            },
        }
        self.checks += 1;
    }

    fn check_set(&mut self, setting: &Setting, case: &Case<C>) {
        let [one, other] = &case.valid;
        let [seen_one, seen_other] = &case.seen;
        self.sees(setting, "variable", &by_variable(setting, case, one), case, seen_one);
        self.sees(setting, "variable", &by_variable(setting, case, other), case, seen_other);
        if !case.is_variable_only {
            self.sees(setting, "file", &self.by_file(setting, case, one), case, seen_one);
            let mut input = self.by_file(setting, case, other);
            self.sees(setting, "file", &input, case, seen_other);
            input.variables.extend(by_variable(setting, case, one).variables);
            self.sees(setting, "variable over file", &input, case, seen_one);
        }
        if setting.flag.is_some() {
            let mut input = self.by_file(setting, case, other);
            input.variables.extend(by_variable(setting, case, other).variables);
            input.flag = Some(one.clone());
            self.sees(setting, "flag over all", &input, case, seen_one);
        }
    }

    fn check_secret(&mut self, setting: &Setting, case: &Case<C>) {
        let ([value, _], [seen, _]) = (&case.valid, &case.seen);
        let file_variable = setting.file_variable().unwrap_or_default();
        let section = format!("[{}]\n{} = {value:?}\n", setting.section, setting.member);
        let input = Input { file: Some(section), ..Input::default() };
        let start = format!("{FILE}:2:1: error: {}.{}: ", setting.section, setting.member);
        self.fails(setting, "secret in the file", input, &start, setting.variable);
        if case.is_variable_only {
            return;
        }
        let path = self.suite.write("secret", value);
        let mut input = by_variable(setting, case, "");
        input.variables.push((file_variable.clone(), path));
        self.sees(setting, "file of the secret", &input, case, seen);
        let mut both = by_variable(setting, case, value);
        both.variables.append(&mut input.variables);
        both.variables.push((setting.variable.to_owned(), value.clone()));
        self.fails(setting, "two sources", both, setting.variable, &file_variable);
        let mut input = by_variable(setting, case, "");
        input.variables.push((file_variable.clone(), "/none".to_owned()));
        self.fails(setting, "no file", input, &file_variable, "names a file that can't be read");
        let mut input = by_variable(setting, case, "");
        input.variables.push((file_variable.clone(), self.suite.write("secret", "\n")));
        self.fails(setting, "empty file", input, &file_variable, "names an empty file");
    }

    fn check_types(&mut self, setting: &Setting, case: &Case<C>) {
        let (literals, problem): (&[&str], _) = match setting.kind {
            Kind::Number { .. } => {
                (&["\"5\"", "true", "1.5", "[5]", "{ a = 5 }"], "must be a whole number")
            }
            Kind::List(_) => (&["\"https://a.example\"", "5", "[5]"], "must be a list of texts"),
            _ => (&["5", "true", "[\"a\"]", "{ a = 5 }"], "must be a text"),
        };
        let mut inputs: Vec<(String, &str)> =
            literals.iter().map(|literal| ((*literal).to_owned(), problem)).collect();
        if !matches!(setting.kind, Kind::Number { .. } | Kind::List(_)) {
            inputs.push(("\"\"".to_owned(), "is empty"));
            inputs.push(("\"${PORTCULLIS_NOWHERE}\"".to_owned(), "PORTCULLIS_NOWHERE is not set"));
            inputs.push(("\"a${B}\"".to_owned(), "a variable is the whole text"));
        }
        for (literal, problem) in inputs {
            if case.is_variable_only {
                continue;
            }
            let text = format!("[{}]\n{} = {literal}\n", setting.section, setting.file_member());
            let input = Input { file: Some(text), ..by_variable(setting, case, "") };
            self.fails(setting, &literal, input, &in_file(setting), problem);
        }
    }

    fn check_values(&mut self, setting: &Setting, case: &Case<C>) {
        let implied: &[(&str, &str)] = match setting.kind {
            Kind::Address => &[("nowhere", "must be address:port"), ("a:1", "such as")],
            Kind::Number { .. } => {
                &[("x", "must be a whole number"), ("1.5", "whole"), ("-1", "whole")]
            }
            Kind::OneOf(_) => &[("none", "must be one of")],
            Kind::Path | Kind::List(_) | Kind::Secret { .. } | Kind::Text(_) => &[],
        };
        let is_number = matches!(setting.kind, Kind::Number { .. });
        for (value, problem) in implied.iter().chain(&case.invalid) {
            let input = by_variable(setting, case, value);
            let start = format!("{}: ", setting.variable);
            self.fails(setting, value, input, &start, problem);
            if !case.is_variable_only && !is_number {
                let input = self.by_file(setting, case, value);
                self.fails(setting, value, input, &in_file(setting), problem);
            }
        }
    }

    fn check_bounds(&mut self, setting: &Setting, case: &Case<C>) {
        let Kind::Number { min, max, or_zero } = setting.kind else { return };
        let problem = format!("must be a whole number, {min} to {max}");
        let below = i64::from(min) - 1;
        for number in [below, i64::from(max) + 1, i64::MAX] {
            let number = number.to_string();
            let input = by_variable(setting, case, &number);
            self.fails(setting, &number, input, setting.variable, &problem);
            let input = self.by_file(setting, case, &number);
            self.fails(setting, &number, input, &in_file(setting), &problem);
        }
        for number in [Some(min), Some(max), or_zero.then_some(0)].into_iter().flatten() {
            let number = number.to_string();
            self.sees(setting, "bound", &by_variable(setting, case, &number), case, &number);
            self.sees(setting, "bound", &self.by_file(setting, case, &number), case, &number);
        }
    }

    fn check_names(&mut self, setting: &Setting, case: &Case<C>) {
        let ([value, _], member) = (&case.valid, setting.file_member());
        let mut input = Input::default();
        self.set_base(setting, &mut input);
        let variables = input.variables;
        let with_file =
            |text: String| Input { file: Some(text), variables: variables.clone(), flag: None };
        // By one letter.
        let misspelt = misspell(setting.variable, 'X');
        let mut input = with_file(String::new());
        input.variables.push((misspelt.clone(), value.clone()));
        let expect = format!("rename it to {}", setting.variable);
        self.fails(setting, "misspelt variable", input, &format!("{misspelt}: "), &expect);
        let misspelt = misspell(member, 'x');
        let text = format!("[{}]\n{misspelt} = 1\n", setting.section);
        let start = format!("{FILE}:2:1: error: {}.{misspelt}: ", setting.section);
        let expect = format!("did you mean {member}?");
        self.fails(setting, "misspelt member", with_file(text), &start, &expect);
        let misspelt = misspell(setting.section, 'x');
        let start = format!("{FILE}:1:2: error: {misspelt}: ");
        let expect = format!("did you mean {}?", setting.section);
        let text = format!("[{misspelt}]\n{member} = 1\n");
        self.fails(setting, "misspelt section", with_file(text), &start, &expect);
        // At another place.
        let (place, all) = (setting.place(), self.suite.table.settings);
        let has = |section: &str| {
            all.iter().any(|own| own.section == section && own.file_member() == member)
        };
        let sections = self.suite.table.sections();
        for section in sections.into_iter().filter(|section| !has(section)) {
            let text = format!("[{section}]\n{member} = 1\n");
            let start = format!("{FILE}:2:1: error: {section}.{member}: ");
            self.fails(setting, "wrong section", with_file(text), &start, &place);
        }
        let start = format!("{FILE}:1:1: error: {member}: ");
        self.fails(setting, "no section", with_file(format!("{member} = 1\n")), &start, &place);
        // By the name that files had before there were sections.
        let variable = setting.variable;
        let start = format!("{FILE}:1:1: error: {variable}: is the name of a variable");
        let text = format!("{variable} = \"x\"\n");
        self.fails(setting, "variable in the file", with_file(text), &start, &place);
    }

    /// Adds the variable of the base, which [`Suite::read`] leaves out.
    fn set_base(&self, setting: &Setting, input: &mut Input) {
        let own = self.suite.base.iter().find(|(name, _)| *name == setting.variable);
        let own = own.map(|(name, value)| ((*name).to_owned(), value.clone()));
        input.variables.extend(own);
    }

    fn by_file(&self, setting: &Setting, case: &Case<C>, value: &str) -> Input {
        let file = Some(self.suite.section(setting, value));
        Input { file, ..by_variable(setting, case, "") }
    }

    fn sees(&mut self, setting: &Setting, what: &str, input: &Input, case: &Case<C>, expect: &str) {
        self.checks += 1;
        let seen = match self.suite.read(setting, input) {
            Ok(config) => (case.observe)(&config),
            Err(errors) => format!("{errors:?}"),
        };
        if seen != expect {
            self.failures.push(format!("{} ({what}): {seen}, not {expect}", setting.variable));
        }
    }

    /// Expects one error, which begins with `start` and contains `problem`.
    fn fails(&mut self, setting: &Setting, what: &str, input: Input, start: &str, problem: &str) {
        self.checks += 1;
        let errors = match self.suite.read(setting, &input) {
            Ok(_) => return self.failures.push(format!("{} ({what}): valid", setting.variable)),
            Err(errors) => errors,
        };
        match errors.as_slice() {
            [error] if error.starts_with(start) && error.contains(problem) => {}
            _ => {
                let expect = format!("{start} … {problem}");
                let name = setting.variable;
                self.failures.push(format!("{name} ({what}): {errors:?}, not {expect}"));
            }
        }
    }
}

/// Returns an input with the variables that the case needs, and the setting's own. An empty value
/// counts as unset.
fn by_variable<C>(setting: &Setting, case: &Case<C>, value: &str) -> Input {
    let with = case.with.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let mut variables: Vec<(String, String)> = with.collect();
    variables.push((setting.variable.to_owned(), value.to_owned()));
    Input { variables, ..Input::default() }
}

fn in_file(setting: &Setting) -> String {
    format!("{FILE}:2:1: error: {}: ", setting.place())
}

/// Replaces a letter in the middle.
fn misspell(name: &str, letter: char) -> String {
    let middle = name.len() / 2;
    let replace = |(at, own): (usize, char)| if at == middle { letter } else { own };
    name.chars().enumerate().map(replace).collect()
}
