// Package metrics tells other programs how a training goes: TensorBoard by event files, Prometheus by an endpoint.
package metrics

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// A Scalar is a number with the name that it is charted under, such as train/loss.
type Scalar struct {
	Name  string
	Value float64
}

// Events is an event file of TensorBoard: TFRecords (tensorflow/core/lib/io/record_writer.h) of Event messages
// (tensorflow/core/util/event.proto), with each scalar as a simple_value, as torch's SummaryWriter writes it. What is
// written is in the file when a call returns.
type Events struct {
	file *os.File
}

// CreateEvents makes a new event file in a directory, which is made where it is missing, for a training that goes on
// after a step (0 begins). TensorBoard forgets what older files of the directory say of later steps.
func CreateEvents(dir string, at time.Time, after int) (*Events, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	file, err := create(dir, at)
	if err != nil {
		return nil, err
	}
	e := &Events{file}
	version := event(at, 0)
	version = protowire.AppendTag(version, 3, protowire.BytesType) // file_version
	version = protowire.AppendString(version, "brain.Event:2")
	err = e.write(version)
	var session []byte
	session = protowire.AppendTag(session, 1, protowire.VarintType) // status
	session = protowire.AppendVarint(session, 1)                    // START
	start := event(at, after+1)
	start = protowire.AppendTag(start, 7, protowire.BytesType) // session_log
	err = errors.Join(err, e.write(protowire.AppendBytes(start, session)))
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return e, nil
}

// create makes a file of a name that TensorBoard knows event files by; it reads them in the order of their names.
func create(dir string, at time.Time) (*os.File, error) {
	host, err := os.Hostname()
	if err != nil || strings.ContainsAny(host, `/\`) {
		host = "localhost"
	}
	for n := 0; ; n++ {
		name := fmt.Sprintf("events.out.tfevents.%010d.%s.%d.%d", at.Unix(), host, os.Getpid(), n)
		file, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			return file, err
		}
	}
}

// Scalars writes numbers of a step.
func (e *Events) Scalars(step int, at time.Time, list []Scalar) error {
	var summary []byte
	for _, s := range list {
		var value []byte
		value = protowire.AppendTag(value, 1, protowire.BytesType) // tag
		value = protowire.AppendString(value, s.Name)
		value = protowire.AppendTag(value, 2, protowire.Fixed32Type) // simple_value
		value = protowire.AppendFixed32(value, math.Float32bits(float32(s.Value)))
		summary = protowire.AppendTag(summary, 1, protowire.BytesType) // value
		summary = protowire.AppendBytes(summary, value)
	}
	return e.write(summarised(at, step, summary))
}

// Text writes a text, such as the options of a training.
func (e *Events) Text(name, text string, at time.Time) error {
	var plugin, metadata, dim, shape, tensor, value, summary []byte
	plugin = protowire.AppendTag(plugin, 1, protowire.BytesType) // plugin_name
	plugin = protowire.AppendString(plugin, "text")
	metadata = protowire.AppendTag(metadata, 1, protowire.BytesType) // plugin_data
	metadata = protowire.AppendBytes(metadata, plugin)
	dim = protowire.AppendTag(dim, 1, protowire.VarintType) // size
	dim = protowire.AppendVarint(dim, 1)
	shape = protowire.AppendTag(shape, 2, protowire.BytesType) // dim
	shape = protowire.AppendBytes(shape, dim)
	tensor = protowire.AppendTag(tensor, 1, protowire.VarintType) // dtype
	tensor = protowire.AppendVarint(tensor, 7)                    // DT_STRING
	tensor = protowire.AppendTag(tensor, 2, protowire.BytesType)  // tensor_shape
	tensor = protowire.AppendBytes(tensor, shape)
	tensor = protowire.AppendTag(tensor, 8, protowire.BytesType) // string_val
	tensor = protowire.AppendString(tensor, text)
	value = protowire.AppendTag(value, 1, protowire.BytesType) // tag
	value = protowire.AppendString(value, name+"/text_summary")
	value = protowire.AppendTag(value, 8, protowire.BytesType) // tensor
	value = protowire.AppendBytes(value, tensor)
	value = protowire.AppendTag(value, 9, protowire.BytesType) // metadata
	value = protowire.AppendBytes(value, metadata)
	summary = protowire.AppendTag(summary, 1, protowire.BytesType) // value
	return e.write(summarised(at, 0, protowire.AppendBytes(summary, value)))
}

// Close closes the file.
func (e *Events) Close() error { return e.file.Close() }

// event begins an Event message.
func event(at time.Time, step int) (out []byte) {
	out = protowire.AppendTag(out, 1, protowire.Fixed64Type) // wall_time
	out = protowire.AppendFixed64(out, math.Float64bits(float64(at.UnixNano())/1e9))
	if step > 0 {
		out = protowire.AppendTag(out, 2, protowire.VarintType) // step
		out = protowire.AppendVarint(out, uint64(step))
	}
	return out
}

func summarised(at time.Time, step int, summary []byte) []byte {
	out := protowire.AppendTag(event(at, step), 5, protowire.BytesType) // summary
	return protowire.AppendBytes(out, summary)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is the checksum of a TFRecord (tensorflow/core/lib/hash/crc32c.h).
func masked(data []byte) uint32 {
	sum := crc32.Checksum(data, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}

// write appends a record at once, so that a reader never sees a part of one that is followed by another.
func (e *Events) write(message []byte) error {
	record := binary.LittleEndian.AppendUint64(nil, uint64(len(message)))
	record = binary.LittleEndian.AppendUint32(record, masked(record))
	record = append(record, message...)
	record = binary.LittleEndian.AppendUint32(record, masked(message))
	_, err := e.file.Write(record)
	return err
}
