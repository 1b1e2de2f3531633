//! Which system calls a process may make.
//!
//! What is on no list fails with `ENOSYS`, as it would on a kernel older than the call. Libraries
//! are prepared for that and take an older call, so that a new version of one does not end a
//! process that worked; and it is as much use to an intruder as a dead one. What only an intruder
//! would try, on the other hand, ends the process at once, and the kernel's log says so.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule, apply_filter_all_threads,
};

use super::{Needs, Refused};

/// From now on every thread of the process makes only calls that somebody needs.
pub(super) fn restrict(needs: &Needs) -> Result<(), Refused> {
    let compile = || {
        let fatal = fatal()?;
        Ok((fatal, allowed(needs)?))
    };
    let (fatal, allowed) =
        compile().map_err(|error: BackendError| Refused::Fault(error.to_string()))?;
    // Of two filters the more severe answer counts.
    for filter in [fatal, allowed] {
        apply_filter_all_threads(&filter).map_err(|error| {
            if let Error::Seccomp(error) = &error
                && matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
            {
                return Refused::Unknown("this kernel does not have it".to_owned());
            }
            Refused::Fault(error.to_string())
        })?;
    }
    Ok(())
}

fn fatal() -> Result<BpfProgram, BackendError> {
    let rules = FATAL.iter().map(|call| (*call, Vec::new())).collect();
    program(rules, SeccompAction::Allow, SeccompAction::KillProcess)
}

fn allowed(needs: &Needs) -> Result<BpfProgram, BackendError> {
    let calls = [THREADS, MEMORY, TIME, FILES, WAITING, SOCKETS, OLD];
    let mut rules: Rules = calls.concat().into_iter().map(|call| (call, Vec::new())).collect();

    rules.insert(libc::SYS_socket, sockets()?);
    rules.insert(libc::SYS_setsockopt, options()?);
    rules.insert(libc::SYS_socketpair, any_of(0, &[libc::AF_UNIX.cast_unsigned()])?);
    let mut requests = vec![libc::FIONBIO, libc::TCGETS, libc::SIOCGIFINDEX];
    if needs.devices {
        requests.extend([libc::TUNSETIFF, libc::TUNSETVNETHDRSZ, libc::TUNSETOFFLOAD]);
    }
    // Numbers of requests are 32 bits.
    let requests: Vec<_> = requests.into_iter().map(|request| request as u32).collect();
    rules.insert(libc::SYS_ioctl, any_of(1, &requests)?);
    rules.insert(libc::SYS_prctl, any_of(0, &[libc::PR_SET_NAME.cast_unsigned(), PR_GET_AUXV])?);
    // Threads, not processes. What `clone3` is asked for cannot be seen from here; without it, the
    // C library takes `clone`.
    let thread = libc::CLONE_THREAD.cast_unsigned();
    rules.insert(libc::SYS_clone, masked(0, thread, thread)?);
    if !needs.names {
        // No code but the program's own; modules of the name service are some.
        let executable = libc::PROT_EXEC.cast_unsigned();
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            rules.insert(call, masked(2, executable, 0)?);
        }
    }
    program(rules, SeccompAction::Errno(libc::ENOSYS.cast_unsigned()), SeccompAction::Allow)
}

/// Sockets of these domains; of netlink, those that tell of interfaces, addresses, routes and
/// sockets. With `CAP_NET_ADMIN` others would open the packet filter.
fn sockets() -> Result<Vec<SeccompRule>, BackendError> {
    let domains = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];
    let mut rules = any_of(0, &domains.map(i32::cast_unsigned))?;
    for protocol in [libc::NETLINK_ROUTE, libc::NETLINK_SOCK_DIAG] {
        rules.push(SeccompRule::new(vec![
            condition(0, SeccompCmpOp::Eq, libc::AF_NETLINK.cast_unsigned())?,
            condition(2, SeccompCmpOp::Eq, protocol.cast_unsigned())?,
        ])?);
    }
    Ok(rules)
}

/// Socket options but those by which iptables and its kin are changed: of IP, with high numbers.
fn options() -> Result<Vec<SeccompRule>, BackendError> {
    let levels = [libc::SOL_IP, libc::SOL_IPV6].map(i32::cast_unsigned);
    let not_ip = levels.map(|level| condition(1, SeccompCmpOp::Ne, level));
    let not_ip = not_ip.into_iter().collect::<Result<_, _>>()?;
    Ok(vec![SeccompRule::new(not_ip)?, rule(2, SeccompCmpOp::Lt, FILTER_OPTIONS)?])
}

/// For each system call the conditions of which one has to hold, if there are any.
type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

fn program(
    rules: Rules,
    others: SeccompAction,
    these: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    SeccompFilter::new(rules, others, these, std::env::consts::ARCH.try_into()?)?.try_into()
}

/// That the argument is one of these.
fn any_of(argument: u8, values: &[u32]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|value| rule(argument, SeccompCmpOp::Eq, *value)).collect()
}

/// That the bits of the argument that are in `mask` are these.
fn masked(argument: u8, mask: u32, bits: u32) -> Result<Vec<SeccompRule>, BackendError> {
    Ok(vec![rule(argument, SeccompCmpOp::MaskedEq(mask.into()), bits)?])
}

fn rule(argument: u8, compare: SeccompCmpOp, value: u32) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![condition(argument, compare, value)?])
}

fn condition(
    argument: u8,
    compare: SeccompCmpOp,
    value: u32,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value.into())
}

/// Where the numbers of socket options of the packet filter begin (`XT_BASE_CTL` of the kernel's
/// `linux/netfilter/x_tables.h`; those of ARP, bridges and IPVS are higher).
const FILTER_OPTIONS: u32 = 64;

/// Of the kernel's `linux/prctl.h`: what it told the process at its start, such as where the clock
/// is that needs no system call.
const PR_GET_AUXV: u32 = 0x4155_5856;

/// What no part of the program or of a library calls, not even to see whether it is there.
const FATAL: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_bpf,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
];

const THREADS: &[c_long] = &[
    libc::SYS_capget,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_prlimit64,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_tgkill,
    libc::SYS_uname,
];

const MEMORY: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
];

/// The C library asks the clock without a system call, where it can.
const TIME: &[c_long] = &[
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_nanosleep,
];

/// Which files, is landlock's to say.
const FILES: &[c_long] = &[
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_faccessat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_mkdirat,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_renameat2,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
];

const WAITING: &[c_long] = &[
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_signalfd4,
];

const SOCKETS: &[c_long] = &[
    libc::SYS_accept4,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_listen,
    libc::SYS_recvfrom,
    libc::SYS_recvmmsg,
    libc::SYS_recvmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_shutdown,
];

/// Calls that have a successor, which younger processors have alone.
#[cfg(target_arch = "x86_64")]
const OLD: &[c_long] = &[
    libc::SYS_access,
    libc::SYS_chmod,
    libc::SYS_epoll_wait,
    libc::SYS_getrlimit,
    libc::SYS_lstat,
    libc::SYS_mkdir,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_stat,
    libc::SYS_time,
    libc::SYS_unlink,
];

/// `renameat`, by its number, because the bindings have no name for it here.
#[cfg(target_arch = "aarch64")]
const OLD: &[c_long] = &[38];
