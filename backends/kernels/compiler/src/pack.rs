//! SPIR-V for the library: variants of a kernel say almost the same, so each module is what it does not share with those
//! before it. backends/vulkan/vk_spirv.c undoes both steps.
//!
//! 1. `code`: a module as bytes. Every number is a varint (7 bits a byte, low ones first): the header's five words, then
//!    of each instruction opcode, length in words, and operands. An operand that is near the last id made in a function
//!    is the distance from it (zigzag) with the lowest bit set, so that code is the same wherever it stands; else itself
//!    with the lowest bit clear.
//! 2. `Packer`: LZ77 (Ziv & Lempel 1977) over the coded modules of a family, all earlier ones in reach. A module is runs
//!    of: count of literals, these, length of a match, its distance (0 = as before). Lengths and distances are varints;
//!    the coded module's size tells the end, and a match of length 0 has no distance.

use std::collections::HashMap;

const OP_FUNCTION: u32 = 54;
const HEADER_WORDS: usize = 5;
/// Ids below this are types, constants and globals more often than values of a function.
const NEAR: u32 = 4096;

fn put(out: &mut Vec<u8>, mut v: u64) {
    while v >= 128 {
        out.push(v as u8 | 128);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Ids that instructions before the first function make, roughly: whatever stands where a result may.
fn globals(words: &[u32]) -> Vec<bool> {
    let mut is_global = vec![false; words[3] as usize];
    let mut at = HEADER_WORDS;
    while at < words.len() && words[at] & 0xffff != OP_FUNCTION {
        let (op, n) = (words[at] & 0xffff, (words[at] >> 16) as usize);
        let result = match op {
            11 | 19..=39 => 1,              // OpExtInstImport, types
            41..=44 | 46 | 48..=52 | 59 => 2, // constants, variables
            _ => 0,
        };
        if result > 0 && result < n {
            is_global[words[at + result] as usize] = true;
        }
        at += n;
    }
    is_global
}

pub fn code(words: &[u32]) -> Vec<u8> {
    let mut out = Vec::new();
    let (is_global, bound) = (globals(words), words[3]);
    for &word in &words[..HEADER_WORDS] {
        put(&mut out, word.into());
    }
    let (mut at, mut last) = (HEADER_WORDS, 0u32);
    while at < words.len() {
        let (op, n) = (words[at] & 0xffff, (words[at] >> 16) as usize);
        put(&mut out, op.into());
        put(&mut out, n as u64);
        for k in 1..n {
            let x = words[at + k];
            let absolute = x >= bound || x < 64 || is_global[x as usize] || x.abs_diff(last) > NEAR;
            if absolute {
                put(&mut out, u64::from(x) << 1);
            } else {
                let distance = x.wrapping_sub(last) as i32;
                put(&mut out, u64::from(((distance << 1) ^ (distance >> 31)) as u32) << 1 | 1);
            }
            if k == 2 && op >= OP_FUNCTION && x < bound {
                last = x;
            }
        }
        at += n;
    }
    out
}

const SHORTEST: usize = 3;
const CANDIDATES: usize = 400;

/// Coded modules of a family, packed one after the other.
#[derive(Default)]
pub struct Packer {
    all: Vec<u8>,
    places: HashMap<[u8; SHORTEST], Vec<usize>>,
}

impl Packer {
    fn cost(v: usize) -> usize {
        1 + (v >= 1 << 7) as usize + (v >= 1 << 14) as usize + (v >= 1 << 21) as usize
    }

    fn length(&self, from: usize, at: usize) -> usize {
        self.all[at..].iter().zip(&self.all[from..]).take_while(|(a, b)| a == b).count()
    }

    /// Length and distance of the match at `at` that saves most bytes; what it saves.
    fn best(&self, at: usize, last: usize) -> (usize, usize, i64) {
        let mut best = (0, 0, 0);
        let mut consider = |from: usize| {
            let (length, distance) = (self.length(from, at), at - from);
            let paid = 1 + Self::cost(length) + if distance == last { 1 } else { Self::cost(distance) };
            let saved = length as i64 - paid as i64;
            if saved > best.2 {
                best = (length, distance, saved);
            }
        };
        if last > 0 && last <= at {
            consider(at - last);
        }
        if at + SHORTEST <= self.all.len() {
            let key = [self.all[at], self.all[at + 1], self.all[at + 2]];
            if let Some(list) = self.places.get(&key) {
                list.iter().rev().take(CANDIDATES).for_each(|&from| consider(from));
            }
        }
        best
    }

    fn remember(&mut self, at: usize) {
        if at + SHORTEST <= self.all.len() {
            let key = [self.all[at], self.all[at + 1], self.all[at + 2]];
            self.places.entry(key).or_default().push(at);
        }
    }

    pub fn pack(&mut self, coded: &[u8]) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), self.all.len());
        let (mut literals, mut last) = (at, 0);
        self.all.extend_from_slice(coded);
        while at < self.all.len() {
            let mut found = self.best(at, last);
            self.remember(at);
            if found.0 > 0 && self.best(at + 1, last).2 > found.2 + 1 {
                found.0 = 0; // the next one is better
            }
            if found.0 == 0 {
                at += 1;
                continue;
            }
            put(&mut out, (at - literals) as u64);
            out.extend_from_slice(&self.all[literals..at]);
            put(&mut out, found.0 as u64);
            put(&mut out, if found.1 == last { 0 } else { found.1 as u64 });
            last = found.1;
            for place in at + 1..at + found.0 {
                self.remember(place);
            }
            at += found.0;
            literals = at;
        }
        if literals < at {
            put(&mut out, (at - literals) as u64);
            out.extend_from_slice(&self.all[literals..at]);
            put(&mut out, 0);
        }
        out
    }
}
