// Ring: a first-in-first-out queue of fixed capacity, without allocation after it is made.
#pragma once

#include <cassert>
#include <cstddef>
#include <vector>

namespace gigafetch {

template <typename T>
class Ring {
 public:
  explicit Ring(size_t capacity) : items_(capacity) {}

  bool empty() const { return size_ == 0; }
  bool full() const { return size_ == items_.size(); }
  size_t size() const { return size_; }

  // Only when not full.
  void push(const T& item) {
    assert(!full());
    items_[wrapped(first_ + size_)] = item;
    ++size_;
  }
  // Only when not empty.
  const T& front() const { return const_cast<Ring*>(this)->front(); }
  T& front() {
    assert(!empty());
    return items_[first_];
  }
  T pop() {
    T item = front();
    first_ = wrapped(first_ + 1);
    --size_;
    return item;
  }

 private:
  // A division would cost more than the rest.
  size_t wrapped(size_t index) const {
    return index < items_.size() ? index : index - items_.size();
  }

  std::vector<T> items_;
  size_t first_ = 0;
  size_t size_ = 0;
};

}  // namespace gigafetch
