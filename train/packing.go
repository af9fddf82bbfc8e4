package train

import (
	"slices"
	"strings"
)

// packedAtOnce is how many rows are packed among themselves: datasets' map takes so many at a time, and TRL packs by it.
const packedAtOnce = 1000

// Pack joins rows into packs of at most max_length tokens, as TRL 1.16 does (data_utils.py, pack_dataset): the packs are
// what a training then takes for rows. Without packing the rows stay as they are.
//
//	bfd        best fit decreasing (Ding et al., 2024, arXiv 2404.10830): the longest rows first, each into the pack with
//	           the least room that takes it, rows of one length and packs of one room in their order; longer rows are cut
//	bfd_split  the same, but longer rows are split into pieces of max_length
//	wrapped    all rows end to end, cut every max_length tokens; a pack is one document
func (o Options) Pack(rows []Example) []Example {
	if !o.Packing {
		return rows
	}
	var out []Example
	for group := range slices.Chunk(rows, packedAtOnce) {
		switch o.PackingStrategy {
		case "wrapped":
			out = append(out, wrapped(group, *o.MaxLength)...)
		default:
			out = append(out, bestFit(pieces(group, *o.MaxLength, o.PackingStrategy == "bfd_split"), *o.MaxLength)...)
		}
	}
	return out
}

// part is a run of a row's tokens.
func (e Example) part(from, to int) Example {
	return Example{Row: e.Row, Tokens: e.Tokens[from:to], Labels: e.Labels[from:to]}
}

// pieces are rows of at most size tokens: longer ones are split, or cut where they are not to be split.
func pieces(rows []Example, size int, split bool) (out []Example) {
	for _, r := range rows {
		first := r.part(0, min(size, len(r.Tokens)))
		if first.Cut = r.Cut; !split {
			first.Cut += len(r.Tokens) - len(first.Tokens)
		}
		for out = append(out, first); split && len(r.Tokens) > size; out = append(out, r.part(0, min(size, len(r.Tokens)))) {
			r = r.part(size, len(r.Tokens))
		}
	}
	return slices.DeleteFunc(out, func(e Example) bool { return len(e.Tokens) == 0 })
}

// bestFit packs documents of at most size tokens.
func bestFit(documents []Example, size int) (packs []Example) {
	slices.SortStableFunc(documents, func(a, b Example) int { return len(b.Tokens) - len(a.Tokens) })
	var rooms []int         // that packs have left, rising, each once
	with := map[int][]int{} // the packs that have so much room, in the order in which they came to it
	joined := [][]Example{} // by pack
	for _, d := range documents {
		n := len(d.Tokens)
		room, to := size, len(joined)
		if at, _ := slices.BinarySearch(rooms, n); at < len(rooms) {
			room = rooms[at]
			to, with[room] = with[room][0], with[room][1:]
			if len(with[room]) == 0 {
				rooms = slices.Delete(rooms, at, at+1)
			}
		} else {
			joined = append(joined, nil)
		}
		joined[to] = append(joined[to], d)
		if room -= n; room > 0 {
			if at, there := slices.BinarySearch(rooms, room); !there {
				rooms = slices.Insert(rooms, at, room)
			}
			with[room] = append(with[room], to)
		}
	}
	for _, documents := range joined {
		packs = append(packs, pack(documents))
	}
	return packs
}

// pack joins documents.
func pack(documents []Example) (p Example) {
	var names []string
	for _, d := range documents {
		names = append(names, d.Row)
		p.Tokens = append(p.Tokens, d.Tokens...)
		p.Labels = append(p.Labels, d.Labels...)
		p.Documents = append(p.Documents, len(d.Tokens))
		p.Cut += d.Cut
	}
	p.Row = strings.Join(slices.Compact(names), " + ")
	return p
}

// wrapped cuts the stream of all rows.
func wrapped(rows []Example, size int) (packs []Example) {
	room := 0
	for _, r := range rows {
		for from := 0; from < len(r.Tokens); {
			if room == 0 {
				packs = append(packs, Example{})
				room = size
			}
			n := min(room, len(r.Tokens)-from)
			p := &packs[len(packs)-1]
			p.Tokens = append(p.Tokens, r.Tokens[from:from+n]...)
			p.Labels = append(p.Labels, r.Labels[from:from+n]...)
			if p.Row != "" {
				p.Row += " + "
			}
			p.Row += r.Row
			from, room = from+n, room-n
		}
	}
	return packs
}
