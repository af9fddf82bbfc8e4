package student

import (
	"fmt"
	"hash"
	"hash/fnv"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// A fused is what the ops of the graph have in common. gorgonia sees a pure function of its inputs whose output has one
// row for each token of the largest micro-batch. In fact the output is memory that the op keeps (given to it by plan, or
// a gradient buffer), and only the rows of the present micro-batch are read and written.
type fused struct {
	name    string // of this op alone: gorgonia takes ops of one name for one op
	inputs  int
	shape   tensor.Shape
	out     *tensor.Dense
	trained []bool // by input: whether a trained parameter lies behind it, so that its gradient is wanted
}

// DiffWRT is what gorgonia asks of an op of the forward pass.
func (f *fused) DiffWRT(n int) []bool {
	out := make([]bool, n)
	copy(out, f.trained)
	return out
}

func (f *fused) trainedInputs(trained []bool) { f.trained = trained }

func (f *fused) Arity() int { return f.inputs }

func (f *fused) Type() hm.Type {
	return signature(f.inputs, gorgonia.TensorType{Dims: len(f.shape), Of: tensor.Float32})
}

func (f *fused) InferShape(...gorgonia.DimSizer) (tensor.Shape, error) { return f.shape, nil }

func (f *fused) ReturnsPtr() bool     { return true }
func (f *fused) OverwritesInput() int { return -1 }

// CallsExtern is false although the ops call C: gorgonia allocates the output of an op that says true anew at each run.
func (f *fused) CallsExtern() bool { return false }

func (f *fused) WriteHash(h hash.Hash) { fmt.Fprint(h, f.name) }
func (f *fused) String() string        { return f.name }

func (f *fused) Hashcode() uint32 {
	h := fnv.New32a()
	f.WriteHash(h)
	return h.Sum32()
}

// A planned op has an output that plan gives memory.
type planned interface {
	gorgonia.Op
	size() int
	// takesOver is the input whose memory the output may be written to when nothing reads that input later, or -1.
	takesOver() int
	place(memory []float32)
}

// An activation is a fused op whose output is a matrix [tokens, columns] in memory that plan chooses.
type activation struct{ fused }

func newActivation(name string, inputs, tokens, columns int) activation {
	return activation{fused{name: name, inputs: inputs, shape: tensor.Shape{tokens, columns}}}
}

func (a *activation) size() int              { return a.shape.TotalSize() }
func (a *activation) takesOver() int         { return -1 }
func (a *activation) place(memory []float32) { a.out = dense(memory, a.shape...) }

// A remade op is cheap: what reads its output in the backward pass has it made again there, from what is kept anyway, so that
// the output needs no memory in between.
type remade interface {
	// again applies the op anew, once the gradient of its reader is there.
	again(grad *gorgonia.Node) (*gorgonia.Node, error)
}

// inBackward is what an op's gradient reads in place of the op's input: the same values.
func inBackward(input, grad *gorgonia.Node) (*gorgonia.Node, error) {
	if o, ok := input.Op().(remade); ok {
		return o.again(grad)
	}
	return input, nil
}

// signature is the type of a function of n arguments of any types. gorgonia's own type variables are a and b.
func signature(n int, result hm.Type) hm.Type {
	types := make([]hm.Type, n, n+1)
	for i := range types {
		types[i] = hm.TypeVariable(rune('c' + i))
	}
	return hm.NewFnType(append(types, result)...)
}

// dense is a tensor over data, which is not copied.
func dense(data []float32, shape ...int) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
}

// floats is the memory under a value.
func floats(v gorgonia.Value) []float32 { return v.Data().([]float32) }
