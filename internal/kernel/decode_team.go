package kernel

/*
#include "decode.h"
*/
import "C"

import "runtime"

// call runs the program on this goroutine's thread and lets the others help. A helper that is not there in time is not
// waited for.
func (p *Program) call(threads int) {
	for len(p.help) < threads-1 {
		c, program, number := make(chan struct{}, 1), p.c, C.int(len(p.help)+1)
		p.help = append(p.help, c)
		p.helpers.Add(1)
		go func() {
			defer p.helpers.Done()
			for range c {
				C.shd_join(program, number)
			}
		}()
	}
	for _, c := range p.help[:threads-1] {
		signal(c)
	}
	C.shd_open(p.c, C.int(threads))
	runtime.KeepAlive(p)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it has not heard the last call yet, and will hear this one with it
	}
}
