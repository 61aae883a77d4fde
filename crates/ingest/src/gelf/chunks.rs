//! [`Chunks`]: messages whose datagrams have not all come yet.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// The first bytes of a chunk.
const MAGIC: [u8; 2] = [0x1e, 0x0f];
/// Magic, id of the message, number of the chunk, count of chunks.
const HEAD_BYTES: usize = 12;
/// Chunks of one message.
const CHUNKS_MAX: u8 = 128;
/// Time for all chunks of a message to come.
const WAIT_NS: i64 = 5_000_000_000;
/// What a chunk and a message take beside their bytes.
const ENTRY_BYTES: usize = 64;

/// What a datagram came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given<'a> {
    /// It is a message.
    Whole(&'a [u8]),
    /// It was the last chunk of this message.
    Complete(Vec<u8>),
    /// Chunks of its message are missing.
    Waiting,
    /// It is no chunk that could belong to a message.
    Unusable,
}

/// Messages that were given up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lost {
    /// Not all of their chunks came in time.
    pub late: u64,
    /// There was no room to wait longer.
    pub crowded: u64,
}

/// Puts chunks together, in bounded memory.
#[derive(Debug)]
pub struct Chunks {
    bytes_max: usize,
    bytes: usize,
    waiting: HashMap<Key, Message>,
    /// In the order their first chunk came; some are complete by now.
    order: VecDeque<(Key, i64)>,
    lost: Lost,
}

/// The sender chooses the id: it is one only together with the sender.
type Key = (IpAddr, [u8; 8]);

#[derive(Debug)]
struct Message {
    began_ns: i64,
    chunks: Vec<Option<Box<[u8]>>>,
    missing: usize,
    bytes: usize,
}

impl Chunks {
    /// Nothing waits; what will takes at most `bytes_max`.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            waiting: HashMap::new(),
            order: VecDeque::new(),
            lost: Lost::default(),
        }
    }

    /// Takes a datagram of `peer` that came at `now_ns`, on a clock that never goes back.
    pub fn give<'a>(&mut self, peer: IpAddr, datagram: &'a [u8], now_ns: i64) -> Given<'a> {
        self.expire(now_ns);
        if !datagram.starts_with(&MAGIC) {
            return Given::Whole(datagram);
        }
        let Some((head, body)) = datagram.split_first_chunk::<HEAD_BYTES>() else {
            return Given::Unusable;
        };
        let [_, _, id @ .., number, count] = *head;
        if count == 0 || count > CHUNKS_MAX || number >= count {
            return Given::Unusable;
        }
        let key = (peer, id);
        if !self.waiting.contains_key(&key) {
            let chunks = vec![None; usize::from(count)];
            let bytes = ENTRY_BYTES * (chunks.len() + 1);
            self.bytes += bytes;
            self.order.push_back((key, now_ns));
            self.tidy();
            let missing = chunks.len();
            self.waiting.insert(key, Message { began_ns: now_ns, chunks, missing, bytes });
        }
        let Some(message) = self.waiting.get_mut(&key) else { return Given::Waiting };
        match message.chunks.get_mut(usize::from(number)) {
            // Counts that disagree.
            None => return Given::Unusable,
            // Datagrams may come twice.
            Some(Some(_)) => return Given::Waiting,
            Some(slot) => *slot = Some(body.into()),
        }
        message.missing -= 1;
        message.bytes += body.len();
        self.bytes += body.len();
        if message.missing == 0
            && let Some(message) = self.forget(&key)
        {
            return Given::Complete(message.chunks.into_iter().flatten().flatten().collect());
        }
        self.make_room();
        Given::Waiting
    }

    /// Messages given up since this was asked last.
    pub fn take_lost(&mut self) -> Lost {
        std::mem::take(&mut self.lost)
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Gives up messages whose time is over.
    pub fn expire(&mut self, now_ns: i64) {
        while let Some((key, began_ns)) = self.order.front().copied() {
            if now_ns - began_ns < WAIT_NS {
                return;
            }
            self.order.pop_front();
            self.lost.late += u64::from(self.give_up(&key, began_ns));
        }
    }

    /// Gives up the oldest until the others fit.
    fn make_room(&mut self) {
        while self.bytes > self.bytes_max
            && let Some((key, began_ns)) = self.order.pop_front()
        {
            self.lost.crowded += u64::from(self.give_up(&key, began_ns));
        }
    }

    /// Forgets the order of messages that are complete.
    fn tidy(&mut self) {
        if self.order.len() > 2 * self.waiting.len() + 64 {
            let waiting = &self.waiting;
            self.order.retain(|(key, began_ns)| {
                waiting.get(key).is_some_and(|message| message.began_ns == *began_ns)
            });
        }
    }

    /// Whether the message that began then still waited.
    fn give_up(&mut self, key: &Key, began_ns: i64) -> bool {
        let is_it = self.waiting.get(key).is_some_and(|message| message.began_ns == began_ns);
        is_it && self.forget(key).is_some()
    }

    fn forget(&mut self, key: &Key) -> Option<Message> {
        let message = self.waiting.remove(key)?;
        self.bytes -= message.bytes;
        Some(message)
    }
}
