//! Docker Engine formats: API answers ([`api`]), the log stream ([`frames`]), and the kernel files from which a
//! container's use of resources is read ([`cgroup`], [`netdev`]) into one [`Usage`].
//!
//! Pure decoders of foreign bytes: nothing here panics, and nothing allocates by a length that the other side names.
//! Does not own: sockets, paths, metric names (`collect`).

pub mod api;
pub mod cgroup;
pub mod frames;
pub mod netdev;

/// What one container uses at one moment. `None` means the source did not say.
///
/// Units: nanoseconds of CPU, microseconds of CFS quota and period, bytes; counters since the container's start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// CPU time, user and system together, ns.
    pub cpu_usage_ns: Option<u64>,
    /// CPU time in user mode, ns.
    pub cpu_user_ns: Option<u64>,
    /// CPU time in the kernel, ns.
    pub cpu_system_ns: Option<u64>,
    /// CFS enforcement periods elapsed.
    pub cfs_periods: Option<u64>,
    /// CFS periods in which the container was throttled.
    pub cfs_throttled_periods: Option<u64>,
    /// Time throttled, ns.
    pub cfs_throttled_ns: Option<u64>,
    /// CFS quota per period, µs; `None` when unlimited.
    pub cpu_quota_us: Option<u64>,
    /// CFS period, µs.
    pub cpu_period_us: Option<u64>,
    /// CPU shares on cgroup v1's scale (2 to 262,144).
    pub cpu_shares: Option<u64>,
    /// Memory charged, bytes.
    pub memory_usage: Option<u64>,
    /// Highest memory charged, bytes.
    pub memory_max_usage: Option<u64>,
    /// Hard limit, bytes; 0 when unlimited.
    pub memory_limit: Option<u64>,
    /// How often the limit was hit.
    pub memory_failcnt: Option<u64>,
    /// Page cache, bytes.
    pub memory_cache: Option<u64>,
    /// Anonymous memory, bytes.
    pub memory_rss: Option<u64>,
    /// Swap, bytes.
    pub memory_swap: Option<u64>,
    /// Mapped files, bytes.
    pub memory_mapped_file: Option<u64>,
    /// Kernel memory, bytes.
    pub memory_kernel: Option<u64>,
    /// Page cache on the inactive list, bytes.
    pub memory_inactive_file: Option<u64>,
    /// Page cache on the active list, bytes.
    pub memory_active_file: Option<u64>,
    /// Dirty page cache, bytes (cgroup v2).
    pub memory_file_dirty: Option<u64>,
    /// Page cache under write-back, bytes (cgroup v2).
    pub memory_file_writeback: Option<u64>,
    /// Page faults of the container itself.
    pub page_faults: Option<u64>,
    /// Major page faults of the container itself.
    pub page_faults_major: Option<u64>,
    /// Page faults with its descendants.
    pub page_faults_hierarchy: Option<u64>,
    /// Major page faults with its descendants.
    pub page_faults_major_hierarchy: Option<u64>,
    /// Processes killed for lack of memory.
    pub oom_kills: Option<u64>,
    /// Processes.
    pub processes: Option<u64>,
    /// Tasks (threads).
    pub threads: Option<u64>,
    /// Most tasks allowed; 0 when unlimited.
    pub threads_max: Option<u64>,
    /// Stall times of CPU, memory and I/O (cgroup v2).
    pub pressure: [Pressure; 3],
    /// Block devices with any I/O.
    pub devices: Vec<DeviceIo>,
    /// Network interfaces of the container's namespace.
    pub interfaces: Vec<netdev::Interface>,
}

/// Index of CPU in [`Usage::pressure`].
pub const PRESSURE_CPU: usize = 0;
/// Index of memory in [`Usage::pressure`].
pub const PRESSURE_MEMORY: usize = 1;
/// Index of I/O in [`Usage::pressure`].
pub const PRESSURE_IO: usize = 2;

/// Total stall times of one resource, µs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Some tasks waited.
    pub some_us: Option<u64>,
    /// All tasks waited.
    pub full_us: Option<u64>,
}

/// I/O of one block device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceIo {
    /// Major device number.
    pub major: u32,
    /// Minor device number.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Read operations.
    pub reads: u64,
    /// Write operations.
    pub writes: u64,
}

/// Most block devices or interfaces kept of one container.
pub const DEVICES_MAX: usize = 256;

impl Usage {
    /// Forgets all readings and keeps the allocations.
    pub fn clear(&mut self) {
        let mut devices = std::mem::take(&mut self.devices);
        let mut interfaces = std::mem::take(&mut self.interfaces);
        devices.clear();
        interfaces.clear();
        *self = Self { devices, interfaces, ..Self::default() };
    }

    /// Memory that cannot be reclaimed at once: usage without the inactive page cache.
    pub fn memory_working_set(&self) -> Option<u64> {
        let usage = self.memory_usage?;
        Some(usage.saturating_sub(self.memory_inactive_file.unwrap_or(0)))
    }

    /// The entry of a device, added on first use; `None` past [`DEVICES_MAX`].
    pub fn device(&mut self, major: u32, minor: u32) -> Option<&mut DeviceIo> {
        let known = self.devices.iter().position(|d| (d.major, d.minor) == (major, minor));
        if known.is_none() && self.devices.len() < DEVICES_MAX {
            self.devices.push(DeviceIo { major, minor, ..DeviceIo::default() });
        }
        match known {
            Some(index) => self.devices.get_mut(index),
            None => self.devices.last_mut().filter(|d| (d.major, d.minor) == (major, minor)),
        }
    }
}
