//! Reads objdump's listing into functions and instructions.

use std::fmt::{self, Display};

/// One function of an object file.
pub struct Function {
    /// Demangled. Some compilers leave a hash at the end.
    pub name: String,
    pub instructions: Vec<Instruction>,
}

/// One line of a listing, without its address.
pub struct Instruction {
    /// The mnemonic and the operands, with objdump's remark.
    pub text: String,
    /// The symbol that the linker will put in.
    pub symbol: Option<String>,
}

impl Function {
    /// Whether this is the function `name` of `krate`.
    pub fn is(&self, krate: &str, name: &str) -> bool {
        let path = format!("{krate}::{name}");
        self.name.strip_prefix(&path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::h"))
    }
}

impl Instruction {
    pub fn mnemonic(&self) -> &str {
        self.text.split_whitespace().next().unwrap_or_default()
    }
}

impl Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}:", self.name)?;
        for one in &self.instructions {
            writeln!(
                f,
                "    {}{}",
                one.text,
                one.symbol.as_ref().map(|name| format!("  => {name}")).unwrap_or_default()
            )?;
        }
        Ok(())
    }
}

/// All functions of a listing made with `--reloc --wide --no-show-raw-insn`.
pub fn functions(listing: &str) -> Vec<Function> {
    let mut found: Vec<Function> = Vec::new();
    for line in listing.lines() {
        if let Some((_, name)) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
            found.push(Function { name: name.to_owned(), instructions: Vec::new() });
        } else if let (Some((_, rest)), Some(function)) = (line.split_once(":\t"), found.last_mut())
        {
            function.instructions.push(instruction(rest));
        }
    }
    found
}

/// `call   *0x0(%rip)        # 9f <f+0x9f>\t9b: R_X86_64_GOTPCREL\tpath::to::it-0x4`
fn instruction(text: &str) -> Instruction {
    let mut fields = text.split('\t');
    let code = fields.next().unwrap_or_default().trim_end().to_owned();
    let symbol = fields.next_back().map(|name| {
        let end = name
            .rfind(['-', '+'])
            .filter(|&at| name[at + 1..].starts_with("0x"))
            .unwrap_or(name.len());
        name[..end].to_owned()
    });
    Instruction { text: code, symbol }
}

#[test]
fn listings_are_read() {
    let listing = "\
0000000000000000 <a::f>:
   0:\tpush   %rbx
   1:\tcall   *0x0(%rip)        # 7 <a::f+0x7>\t3: R_X86_64_GOTPCREL\tb::<impl c-d>::g-0x4
   7:\tret

Disassembly of section .text.b:

0000000000000000 <a::f2::h0123456789abcdef>:
   0:\tjmp    0 <a::f2::h0123456789abcdef>
";
    let all = functions(listing);
    assert_eq!(all.iter().map(|f| f.instructions.len()).collect::<Vec<_>>(), [3, 1]);
    assert!(
        all[0].is("a", "f")
            && !all[0].is("a", "f2")
            && all[1].is("a", "f2")
            && !all[1].is("a", "f")
    );
    let call = &all[0].instructions[1];
    assert_eq!((call.mnemonic(), call.symbol.as_deref()), ("call", Some("b::<impl c-d>::g")));
    assert_eq!(all[0].instructions[2].symbol, None);
}
