package sandbox

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// What a filter answers (linux/seccomp.h), and where it finds what it looks at (struct seccomp_data).
const (
	allow       = 0x7fff0000
	kill        = 0x80000000
	refuse      = 0x00050000 // with the error number
	offsetCall  = 0
	offsetArch  = 4
	offsetFlags = 16 // the low half of the first argument
	x32         = 0x40000000
)

// filter is a classic BPF program for bwrap --seccomp. What reaches deep into the kernel is refused; and with alone, whatever
// starts a process: threads are let through, by clone, which C libraries fall back to where clone3 is not there.
func filter(alone bool) []byte {
	program := []bpf.Instruction{
		bpf.LoadAbsolute{Off: offsetArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		bpf.RetConstant{Val: kill},
		bpf.LoadAbsolute{Off: offsetCall, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: x32, SkipTrue: 1},
		bpf.RetConstant{Val: kill},
	}
	deny := func(call uint32, errno unix.Errno) {
		program = append(program, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: call, SkipTrue: 1}, bpf.RetConstant{Val: refuse | uint32(errno)})
	}
	for _, call := range []uint32{unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_PTRACE, unix.SYS_BPF, unix.SYS_KEYCTL, unix.SYS_ADD_KEY,
		unix.SYS_USERFAULTFD, unix.SYS_PERF_EVENT_OPEN, unix.SYS_IO_URING_SETUP, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV} {
		deny(call, unix.EPERM)
	}
	if alone {
		for _, call := range forks {
			deny(call, unix.EAGAIN)
		}
		deny(unix.SYS_CLONE3, unix.ENOSYS)
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_CLONE, SkipTrue: 3},
			bpf.LoadAbsolute{Off: offsetFlags, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: unix.CLONE_THREAD, SkipTrue: 1},
			bpf.RetConstant{Val: refuse | uint32(unix.EAGAIN)})
	}
	program = append(program, bpf.RetConstant{Val: allow})
	raw, err := bpf.Assemble(program)
	if err != nil {
		panic(err) // the program above is a constant
	}
	var b bytes.Buffer
	for _, i := range raw {
		binary.Write(&b, binary.NativeEndian, struct {
			Op     uint16
			Jt, Jf uint8
			K      uint32
		}{i.Op, i.Jt, i.Jf, i.K})
	}
	return b.Bytes()
}
