package sandbox

import (
	"testing"

	"golang.org/x/net/bpf"
)

// The filter, run by an interpreter of BPF, refuses what starts processes and lets threads through.
func TestFilter(t *testing.T) {
	const (
		read, clone, clone3 = 0, 56, 435
		thread              = 0x10000
	)
	for _, tc := range []struct {
		arch, call, flags uint32
		alone             bool
		want              uint32
	}{
		{auditArch, read, 0, true, allow}, {auditArch, 57, 0, true, refuse | 11}, {auditArch, 58, 0, true, refuse | 11}, {auditArch, 57, 0, false, allow},
		{auditArch, clone, 17, true, refuse | 11}, {auditArch, clone, thread, true, allow}, {auditArch, clone, 17, false, allow},
		{auditArch, clone3, 0, true, refuse | 38}, {auditArch, 272, 0, true, refuse | 1}, {auditArch, 272, 0, false, refuse | 1},
		{auditArch, x32 | 57, 0, true, kill}, {0x40000003, 2, 0, true, kill}, // x32 and i386 number their calls otherwise
	} {
		raw := filter(tc.alone)
		var program []bpf.Instruction
		for i := 0; i < len(raw); i += 8 {
			le := func(b []byte) (n uint32) {
				for j := len(b) - 1; j >= 0; j-- {
					n = n<<8 | uint32(b[j])
				}
				return n
			}
			program = append(program, bpf.RawInstruction{Op: uint16(le(raw[i : i+2])), Jt: raw[i+2], Jf: raw[i+3], K: le(raw[i+4 : i+8])}.Disassemble())
		}
		vm, err := bpf.NewVM(program)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, 64) // the interpreter reads in the network's order
		for at, v := range map[int]uint32{offsetCall: tc.call, offsetArch: tc.arch, offsetFlags: tc.flags} {
			data[at], data[at+1], data[at+2], data[at+3] = byte(v>>24), byte(v>>16), byte(v>>8), byte(v)
		}
		n, err := vm.Run(data)
		if err != nil {
			t.Fatal(err)
		}
		if uint32(n) != tc.want {
			t.Errorf("%+v: %#x", tc, n)
		}
	}
}
