//! A systemd unit for a node.

use std::path::Path;

/// The unit that starts `program` with `arguments`. Pure.
///
/// `KillMode=process`: systemd ends the program alone, its Pods run on for the next start. `Delegate=yes`: the cgroups below
/// the service's are not systemd's to touch.
pub(crate) fn text(program: &Path, arguments: &[String]) -> String {
    let command: Vec<String> = std::iter::once(program.display().to_string())
        .chain(arguments.iter().cloned())
        .map(|word| quoted(&word))
        .collect();
    format!(
        "[Unit]\n\
         Description=memlet: a Kubernetes node's memory side\n\
         After=local-fs.target network.target\n\
         \n\
         [Service]\n\
         ExecStart={}\n\
         KillMode=process\n\
         Delegate=yes\n\
         Restart=always\n\
         RestartSec=1\n\
         OOMScoreAdjust=-999\n\
         LimitNOFILE=1048576\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        command.join(" ")
    )
}

/// A word of a command as systemd reads it: `%` and `$` are its own.
fn quoted(word: &str) -> String {
    let mut escaped = String::new();
    for letter in word.chars() {
        match letter {
            '\\' | '"' => escaped.extend(['\\', letter]),
            '%' | '$' => escaped.extend([letter, letter]),
            // A line's end would begin another setting.
            letter if letter.is_control() => escaped.push_str(&format!("\\u{:04x}", u32::from(letter))),
            letter => escaped.push(letter),
        }
    }
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_=/.,:%@+".contains(letter);
    if !word.is_empty() && word.chars().all(plain) { escaped } else { format!("\"{escaped}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_stays_one() {
        assert_eq!(quoted("a\nExecStart=/x"), "\"a\\u000aExecStart=/x\"");
        assert_eq!(quoted("say \"5%\" \\ $X"), r#""say \"5%%\" \\ $$X""#);
    }

    #[test]
    fn a_unit() {
        let arguments = ["node", "--node-memory", "2Gi", "--data", "/my data/50%"].map(str::to_owned);
        insta::assert_snapshot!(text(Path::new("/usr/bin/memlet"), &arguments), @r#"
        [Unit]
        Description=memlet: a Kubernetes node's memory side
        After=local-fs.target network.target

        [Service]
        ExecStart=/usr/bin/memlet node --node-memory 2Gi --data "/my data/50%%"
        KillMode=process
        Delegate=yes
        Restart=always
        RestartSec=1
        OOMScoreAdjust=-999
        LimitNOFILE=1048576

        [Install]
        WantedBy=multi-user.target
        "#);
    }
}
