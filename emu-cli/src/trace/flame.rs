//! `emu trace flame`: instructions by stack of calls, folded or drawn.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow::Continue;

use anyhow::Result;
use emu_trace::read::Item;

use super::args::FlameArgs;
use super::calls::Calls;
use super::symbols::Symbols;
use super::walk::{Out, walk};

/// Levels of calls that are told apart.
const DEEPEST: usize = 48;

/// `emu trace flame`.
///
/// # Errors
/// What the files ran into.
pub fn run(args: &FlameArgs) -> Result<()> {
    let part = &args.output.part;
    let symbols = Symbols::load(&part.symbols)?;
    let mut calls = Calls::default();
    let mut root = Node::default();
    // The path changes far less often than instructions pass.
    let (mut path, mut since) = (Vec::new(), 0u64);
    walk(part, |item| {
        let (mut changed, cpu) = (false, calls.cpu);
        calls.see(&item, |_| changed = true);
        if changed || calls.cpu != cpu {
            root.add(&path, since);
            since = 0;
            path = calls.stack().iter().take(DEEPEST).map(|frame| frame.entry).collect();
        }
        if matches!(item, Item::Instruction(_)) {
            since += 1;
        }
        Ok(Continue(()))
    })?;
    root.add(&path, since);
    let root = root.named(&symbols);
    let mut out = Out::open(args.output.output.as_deref())?;
    if args.svg {
        draw(&root, &mut out)?;
    } else {
        root.fold(&mut String::new(), &mut out)?;
    }
    Ok(out.flush()?)
}

#[derive(Debug, Default)]
struct Node {
    own: u64,
    below: BTreeMap<u64, Node>,
}

#[derive(Debug, Default)]
struct Named {
    own: u64,
    total: u64,
    below: BTreeMap<String, Named>,
}

impl Node {
    fn add(&mut self, path: &[u64], count: u64) {
        match path.split_first() {
            None => self.own += count,
            Some((first, rest)) => self.below.entry(*first).or_default().add(rest, count),
        }
    }

    fn named(&self, symbols: &Symbols) -> Named {
        let mut named = Named { own: self.own, ..Named::default() };
        for (entry, node) in &self.below {
            named.below.entry(symbols.name(*entry)).or_default().merge(node.named(symbols));
        }
        named.total = named.own + named.below.values().map(|node| node.total).sum::<u64>();
        named
    }
}

impl Named {
    fn merge(&mut self, other: Self) {
        self.own += other.own;
        self.total += other.total;
        for (name, node) in other.below {
            self.below.entry(name).or_default().merge(node);
        }
    }

    fn fold(&self, path: &mut String, out: &mut Out) -> Result<()> {
        if self.own != 0 && !path.is_empty() {
            writeln!(out, "{path} {}", self.own)?;
        }
        for (name, node) in &self.below {
            let length = path.len();
            if length != 0 {
                path.push(';');
            }
            path.push_str(name);
            node.fold(path, out)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn depth(&self) -> usize {
        self.below.values().map(|node| node.depth() + 1).max().unwrap_or(0)
    }
}

const WIDTH: f64 = 1200.0;
const ROW: f64 = 17.0;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn draw(root: &Named, out: &mut Out) -> Result<()> {
    let height = (root.depth() + 1) as f64 * ROW + 20.0;
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"monospace\" font-size=\"11\">"
    )?;
    writeln!(out, "<rect width=\"100%\" height=\"100%\" fill=\"#fffdf5\"/>")?;
    bar(root, "all", 0.0, WIDTH / root.total.max(1) as f64, 0, height, root.total.max(1), out)?;
    writeln!(out, "</svg>")?;
    Ok(())
}

#[allow(clippy::too_many_arguments)] // a rectangle and what it shows
fn bar(
    node: &Named,
    name: &str,
    x: f64,
    scale: f64,
    level: usize,
    height: f64,
    all: u64,
    out: &mut Out,
) -> Result<()> {
    let width = node.total as f64 * scale;
    if width < 0.3 {
        return Ok(());
    }
    let y = height - (level + 1) as f64 * ROW - 10.0;
    let hash = name.bytes().fold(7u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    let (red, green) = (205 + hash % 50, 80 + hash / 64 % 130);
    let share = 100.0 * node.total as f64 / all as f64;
    let shown = escape(name);
    let fits = ((width - 4.0) / 6.7) as usize;
    let label = if fits >= 3 { escape(&name.chars().take(fits).collect::<String>()) } else { String::new() };
    writeln!(
        out,
        "<g><title>{shown}: {} instructions, {share:.2} %</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"rgb({red},{green},60)\"/><text x=\"{:.1}\" y=\"{:.1}\">{label}</text></g>",
        node.total,
        ROW - 1.0,
        x + 2.0,
        y + 12.0
    )?;
    let mut x = x;
    for (name, below) in &node.below {
        bar(below, name, x, scale, level + 1, height, all, out)?;
        x += below.total as f64 * scale;
    }
    Ok(())
}
