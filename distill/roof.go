package distill

import "slices"

const roofEpisodes = 3 // times that a lane was refused in the same crowd, which show that it is the crowd that is refused

// A roof tells a limit on requests at a time from one on requests a second, since both are refused with the same 429. A
// limit on requests at a time refuses whatever comes when so many others are there, and lets everything through before.
// So when the last refusals, apart in time, all came in about the same crowd, and nothing was let through in a crowd as
// large meanwhile, it is the crowd that is refused. Under a limit on the rate, refusals come in crowds of all sizes, or
// others are let through in the same.
type roof struct {
	refused []int // the smallest crowd of each of the last episodes
	through []int // the largest that was let through in each
}

// episode is told of the first refusal after another wait: in which crowd it came, itself included.
func (r *roof) episode(crowd int) {
	r.refused, r.through = append(r.refused, crowd), append(r.through, 0)
	if n := len(r.refused); n > roofEpisodes {
		r.refused, r.through = r.refused[n-roofEpisodes:], r.through[n-roofEpisodes:]
	}
}

// more is told of another refusal of the same episode.
func (r *roof) more(crowd int) {
	if n := len(r.refused); n > 0 {
		r.refused[n-1] = min(r.refused[n-1], crowd)
	}
}

// answered is told of an answer to a request that was sent in a crowd.
func (r *roof) answered(crowd int) {
	if n := len(r.through); n > 0 {
		r.through[n-1] = max(r.through[n-1], crowd)
	}
}

// limit is how many requests at a time the endpoint takes, 0 where that is not what it limits.
func (r *roof) limit() int {
	if len(r.refused) < roofEpisodes {
		return 0
	}
	least, most := slices.Min(r.refused), slices.Max(r.refused)
	if least <= 1 || most-least > max(1, most/10) || slices.Max(r.through) >= least {
		return 0
	}
	return least - 1
}
