//! Writes `crates/codec-amqp/src/methods.rs` from `crates/codec-amqp/schema/amqp.json`.
//!
//! The schema's own "about" lines describe its notation. The output is committed, so that a build needs no
//! generator; `check` tells whether the committed file is what the schema says.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// Rewrites the generated file.
pub fn run() -> Result<()> {
    let text = render()?;
    std::fs::write(crate_dir().join("src/methods.rs"), text).context("writing methods.rs")?;
    Ok(())
}

/// Fails when the committed file differs from what the schema yields.
pub fn check() -> Result<()> {
    let committed = std::fs::read_to_string(crate_dir().join("src/methods.rs")).context("reading methods.rs")?;
    ensure!(committed == render()?, "codec-amqp/src/methods.rs is stale: run `cargo xtask codegen`");
    Ok(())
}

fn crate_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crates/codec-amqp")
}

#[derive(Deserialize)]
struct Schema {
    classes: Vec<ClassLine>,
}

#[derive(Deserialize)]
struct ClassLine {
    id: u16,
    name: String,
    methods: Vec<String>,
}

struct Method {
    class_name: String,
    class_id: u16,
    name: String,
    id: u16,
    content: bool,
    args: Vec<Arg>,
}

struct Arg {
    name: String,
    reserved: bool,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Octet,
    Short,
    Long,
    LongLong,
    Bit,
    ShortStr,
    LongStr,
    Table,
}

impl Kind {
    fn parse(name: &str) -> Result<Kind> {
        Ok(match name {
            "octet" => Kind::Octet,
            "short" => Kind::Short,
            "long" => Kind::Long,
            "longlong" => Kind::LongLong,
            "bit" => Kind::Bit,
            "shortstr" => Kind::ShortStr,
            "longstr" => Kind::LongStr,
            "table" => Kind::Table,
            other => bail!("unknown type {other:?}"),
        })
    }

    fn rust_type(self) -> &'static str {
        match self {
            Kind::Octet => "u8",
            Kind::Short => "u16",
            Kind::Long => "u32",
            Kind::LongLong => "u64",
            Kind::Bit => "bool",
            Kind::ShortStr => "ShortStr<'a>",
            Kind::LongStr => "&'a [u8]",
            Kind::Table => "TableRef<'a>",
        }
    }

    fn borrows(self) -> bool {
        matches!(self, Kind::ShortStr | Kind::LongStr | Kind::Table)
    }

    /// Name of the `Reader` method, and of the `wire::put_*` function, for this type.
    fn verb(self) -> &'static str {
        match self {
            Kind::Octet => "u8",
            Kind::Short => "u16",
            Kind::Long => "u32",
            Kind::LongLong => "u64",
            Kind::Bit => unreachable!("bits are packed"),
            Kind::ShortStr => "short_str",
            Kind::LongStr => "long_str",
            Kind::Table => "table",
        }
    }

    fn empty(self) -> &'static str {
        match self {
            Kind::ShortStr => "ShortStr::EMPTY",
            Kind::LongStr => "&[]",
            Kind::Table => "TableRef::EMPTY",
            _ => "0",
        }
    }
}

impl Method {
    /// "40 publish +content: exchange shortstr, ..."
    fn parse(class: &ClassLine, line: &str) -> Result<Method> {
        let (head, args) = line.split_once(':').context("no ':'")?;
        let mut words = head.split_whitespace();
        let id = words.next().context("no id")?.parse()?;
        let name = words.next().context("no name")?.to_string();
        let content = match words.next() {
            None => false,
            Some("+content") => true,
            Some(other) => bail!("unknown mark {other:?}"),
        };
        let args = args.split(',').map(str::trim).filter(|arg| !arg.is_empty()).map(Arg::parse);
        Ok(Method {
            class_name: class.name.clone(),
            class_id: class.id,
            name,
            id,
            content,
            args: args.collect::<Result<_>>()?,
        })
    }

    fn struct_name(&self) -> String {
        camel(&self.class_name) + &camel(&self.name)
    }

    fn borrows(&self) -> bool {
        self.args.iter().any(|arg| !arg.reserved && arg.kind.borrows())
    }

    fn fields(&self) -> impl Iterator<Item = &Arg> {
        self.args.iter().filter(|arg| !arg.reserved)
    }
}

impl Arg {
    fn parse(text: &str) -> Result<Arg> {
        let (name, kind) = text.split_once(' ').with_context(|| format!("argument {text:?}"))?;
        let (name, reserved) = match name.strip_prefix('_') {
            Some(rest) => (rest, true),
            None => (name, false),
        };
        Ok(Arg { name: name.to_string(), reserved, kind: Kind::parse(kind)? })
    }
}

fn camel(snake: &str) -> String {
    snake
        .split('_')
        .map(|word| word[..1].to_uppercase() + &word[1..])
        .collect()
}

fn render() -> Result<String> {
    let text = std::fs::read_to_string(crate_dir().join("schema/amqp.json")).context("reading the schema")?;
    let schema: Schema = serde_json::from_str(&text)?;
    let mut methods = Vec::new();
    for class in &schema.classes {
        for line in &class.methods {
            methods.push(Method::parse(class, line).with_context(|| format!("in {line:?}"))?);
        }
    }
    let mut out = String::from(HEAD);
    render_enum(&mut out, &methods);
    for method in &methods {
        render_struct(&mut out, method);
    }
    rustfmt(&out)
}

const HEAD: &str = "\
// Generated by `cargo xtask codegen` from schema/amqp.json. Change the schema, not this file.

//! Every method of AMQP 0-9-1 (RabbitMQ dialect) as a struct that borrows from the frame it was read from.
//!
//! Reserved arguments have no field: they are skipped when read and written as zero or empty. Decoding is
//! strict about length: bytes left over after the last argument are an error, as they are for RabbitMQ.

use crate::error::DecodeError;
use crate::table::TableRef;
use crate::wire::{self, EncodeMethod, Reader, ShortStr};

";

fn render_enum(out: &mut String, methods: &[Method]) {
    let w = out;
    w.push_str("/// Any method, as it stands in a method frame.\n");
    w.push_str("#[derive(Clone, Copy, Debug, PartialEq)]\npub enum Method<'a> {\n");
    for method in methods {
        let name = method.struct_name();
        writeln!(w, "{name}({name}{}),", if method.borrows() { "<'a>" } else { "" }).unwrap();
    }
    w.push_str("}\n\nimpl<'a> Method<'a> {\n");
    w.push_str("/// Reads the payload of a method frame: class id, method id, arguments.\n");
    w.push_str("pub fn decode(payload: &'a [u8]) -> Result<Method<'a>, DecodeError> {\n");
    w.push_str("let (id, args) = wire::split_method_id(payload)?;\nOk(match id {\n");
    for method in methods {
        let name = method.struct_name();
        writeln!(w, "{name}::ID => Method::{name}({name}::decode(args)?),").unwrap();
    }
    w.push_str("_ => return Err(DecodeError::UnknownMethod { class_id: (id >> 16) as u16, method_id: id as u16 }),\n");
    w.push_str("})\n}\n\n/// The specification's name, e.g. `basic.publish`.\npub fn name(&self) -> &'static str {\nmatch self {\n");
    for method in methods {
        let name = method.struct_name();
        let dashed = method.name.replace('_', "-");
        writeln!(w, "Method::{name}(_) => \"{}.{dashed}\",", method.class_name).unwrap();
    }
    w.push_str("}\n}\n\n/// Class id in the upper half, method id in the lower.\npub fn id(&self) -> u32 {\nmatch self {\n");
    for method in methods {
        let name = method.struct_name();
        writeln!(w, "Method::{name}(_) => {name}::ID,").unwrap();
    }
    w.push_str("}\n}\n\n/// Whether a content header and body follow the method.\npub fn has_content(&self) -> bool {\n");
    let with_content: Vec<String> =
        methods.iter().filter(|m| m.content).map(|m| format!("Method::{}(_)", m.struct_name())).collect();
    writeln!(w, "matches!(self, {})\n}}\n}}\n", with_content.join(" | ")).unwrap();
    w.push_str("impl EncodeMethod for Method<'_> {\nfn encode(&self, out: &mut Vec<u8>) {\nmatch self {\n");
    for method in methods {
        let name = method.struct_name();
        writeln!(w, "Method::{name}(method) => method.encode(out),").unwrap();
    }
    w.push_str("}\n}\n}\n\n");
}

fn render_struct(w: &mut String, method: &Method) {
    let name = method.struct_name();
    let (class_id, id) = (method.class_id, method.id);
    let lifetime = if method.borrows() { "<'a>" } else { "" };
    let dashed = method.name.replace('_', "-");
    writeln!(w, "/// {}.{dashed}, method {id} of class {class_id}.", method.class_name).unwrap();
    w.push_str("#[derive(Clone, Copy, Debug, PartialEq)]\n");
    if method.fields().next().is_none() {
        writeln!(w, "pub struct {name};\n").unwrap();
    } else {
        writeln!(w, "pub struct {name}{lifetime} {{").unwrap();
        for arg in method.fields() {
            writeln!(w, "pub {}: {},", arg.name, arg.kind.rust_type()).unwrap();
        }
        w.push_str("}\n\n");
    }
    writeln!(w, "impl{lifetime} {name}{lifetime} {{").unwrap();
    w.push_str("/// Class id in the upper half, method id in the lower.\n");
    writeln!(w, "pub const ID: u32 = {class_id} << 16 | {id};\n").unwrap();
    let borrow = if method.borrows() { "&'a [u8]" } else { "&[u8]" };
    w.push_str("/// Reads the arguments, that is a method frame's payload after the two ids.\n");
    writeln!(w, "#[inline]\npub fn decode(args: {borrow}) -> Result<Self, DecodeError> {{").unwrap();
    render_decode(w, method);
    w.push_str("}\n}\n\n");
    let anonymous = if method.borrows() { "<'_>" } else { "" };
    writeln!(w, "impl EncodeMethod for {name}{anonymous} {{\nfn encode(&self, out: &mut Vec<u8>) {{").unwrap();
    w.push_str("wire::put_u32(out, Self::ID);\n");
    for run in runs(&method.args) {
        render_put(w, run);
    }
    w.push_str("}\n}\n\n");
    let from_lifetime = if method.borrows() { "<'a>" } else { "" };
    writeln!(
        w,
        "impl<'a> From<{name}{from_lifetime}> for Method<'a> {{\nfn from(method: {name}{from_lifetime}) -> Self {{\nMethod::{name}(method)\n}}\n}}\n"
    )
    .unwrap();
}

fn render_decode(w: &mut String, method: &Method) {
    if method.args.is_empty() {
        w.push_str("Reader::new(args).finish()?;\nOk(Self)\n");
        return;
    }
    w.push_str("let mut r = Reader::new(args);\n");
    for run in runs(&method.args) {
        render_get(w, run);
    }
    let fields: Vec<&str> = method.fields().map(|arg| arg.name.as_str()).collect();
    w.push_str("r.finish()?;\n");
    if fields.is_empty() {
        w.push_str("Ok(Self)\n");
    } else {
        writeln!(w, "Ok(Self {{ {} }})", fields.join(", ")).unwrap();
    }
}

/// Cuts the arguments into single ones and runs of up to eight bits, which share an octet.
fn runs(args: &[Arg]) -> Vec<&[Arg]> {
    let mut all = Vec::new();
    let mut rest = args;
    while !rest.is_empty() {
        let bits = rest.iter().take(8).take_while(|arg| arg.kind == Kind::Bit).count();
        let (run, tail) = rest.split_at(bits.max(1));
        all.push(run);
        rest = tail;
    }
    all
}

fn render_get(w: &mut String, run: &[Arg]) {
    let first = &run[0];
    if first.kind != Kind::Bit {
        let target = if first.reserved { String::new() } else { format!("let {} = ", first.name) };
        writeln!(w, "{target}r.{}()?;", first.kind.verb()).unwrap();
        return;
    }
    if run.iter().all(|arg| arg.reserved) {
        w.push_str("r.u8()?;\n");
        return;
    }
    w.push_str("let bits = r.u8()?;\n");
    for (bit, arg) in run.iter().enumerate().filter(|(_, arg)| !arg.reserved) {
        writeln!(w, "let {} = bits & {:#04x} != 0;", arg.name, 1 << bit).unwrap();
    }
}

fn render_put(w: &mut String, run: &[Arg]) {
    let first = &run[0];
    if first.kind != Kind::Bit {
        let value =
            if first.reserved { first.kind.empty().to_string() } else { format!("self.{}", first.name) };
        writeln!(w, "wire::put_{}(out, {value});", first.kind.verb()).unwrap();
        return;
    }
    let terms: Vec<String> = run
        .iter()
        .enumerate()
        .filter(|(_, arg)| !arg.reserved)
        .map(|(bit, arg)| match bit {
            0 => format!("u8::from(self.{})", arg.name),
            _ => format!("u8::from(self.{}) << {bit}", arg.name),
        })
        .collect();
    let value = if terms.is_empty() { "0".to_string() } else { terms.join(" | ") };
    writeln!(w, "wire::put_u8(out, {value});").unwrap();
}

/// Formats with the workspace's own settings, so that the committed file passes `cargo fmt --check`.
fn rustfmt(code: &str) -> Result<String> {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let config = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../rustfmt.toml");
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting rustfmt")?;
    let mut stdin = child.stdin.take().context("rustfmt's standard input")?;
    let code = code.to_string();
    let feeder = std::thread::spawn(move || stdin.write_all(code.as_bytes()));
    let output = child.wait_with_output()?;
    feeder.join().expect("feeder does not panic")?;
    ensure!(output.status.success(), "rustfmt failed");
    Ok(String::from_utf8(output.stdout)?)
}
