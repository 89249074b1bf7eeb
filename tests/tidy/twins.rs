//! Twins are wrong versions of texts that stand in the tree. One whose text has gone would fail,
//! but only where all twins run, much later.

/// What of a twin doesn't apply; `read` gives a file of the tree.
pub fn stale(name: &str, twin: &str, read: impl Fn(&str) -> String) -> Vec<String> {
    let (mut file, mut complaints) = (String::new(), Vec::new());
    let mut lines = twin.lines();
    while let Some(line) = lines.next() {
        if let Some(path) = line.strip_prefix("file: ") {
            path.trim().clone_into(&mut file);
        }
        if line == "<<<<" {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "====").collect();
            let times = read(&file).matches(&text.join("\n")).count();
            if times != 1 {
                complaints.push(format!(
                    "{name}: a text of its stands {times} times in {file}, not once"
                ));
            }
            lines.by_ref().take_while(|line| *line != ">>>>").for_each(drop);
        }
    }
    complaints
}

#[test]
fn stale_twins_are_refused() {
    let twin = "why: w\nfile: a.rs\n<<<<\none\ntwo\n====\nnone\n>>>>\ntest: t";
    let complaints = |text: &'static str| stale("a", twin, |_| text.to_owned());
    assert_eq!(complaints("zero\none\ntwo\nthree\n"), Vec::<String>::new());
    assert_eq!(complaints("one\nthree\n"), ["a: a text of its stands 0 times in a.rs, not once"]);
    assert_eq!(complaints("one\ntwo\none\ntwo\n").len(), 1);
}
