! melissa_like.f90: the Fortran module over melissa_like.h; Fortran 2018, compiled with the solver and melissa_like.c:
!
!     mpicc -DML_WITH_MPI -c melissa_like.c
!     mpifort melissa_like.f90 solver.f90 melissa_like.o -lzmq -lm       (gcc and gfortran for a solver of one rank)
!
! A solver with MPI, many simulations in one job:
!
!     type(ml_client) :: client
!
!     call ml_connect(client, MPI_COMM_WORLD)
!     do while (ml_next_simulation(client))
!         diffusivity = ml_parameter(client, "diffusivity")
!         do step = 0, num_steps - 1
!             ... compute this rank's `temperature(nx, rows)`, rows first_row to first_row + rows - 1 of all ...
!             call ml_step_begin(client, step, (step + 1) * time_step)
!             call ml_send(client, "temperature", temperature, first=[1, first_row])
!             call ml_step_end(client)
!         end do
!     end do
!     call ml_close(client)
!
! Axes. A Fortran array (nx, ny) is the field of the shape [ny, nx] in the study's configuration, which counts axes as
! C and Python do; its memory is the same. So components come first there and last here: (nx, ny, 2) is [2, ny, nx].
! Whatever is said here in Fortran is in Fortran's order, and counts from 1: `first`, the numbers of `ml_index_list`,
! the result of `ml_field_shape`. Only values are left as they are: the study counts points of a connectivity from 0.
!
! Arrays. real32, real64, int32 and int64 of any rank that the field has; sections too, which the compiler copies. The
! study's dtype is what is sent: a precision is converted on the way, a real is never made an integer or the reverse.
!
! Strings are taken without the blanks at their end.
!
! Errors. Every procedure that can fail has `stat` and `errmsg` at its end, as `allocate` has. Without `stat` the
! program stops with the message and the exit code that the launcher expects; with it, `stat` is 0 or one of
! ML_ERROR_..., and `errmsg` is changed only by an error. What the codes and the functions do is said in melissa_like.h.
module melissa_like
    use, intrinsic :: iso_c_binding, only: c_char, c_double, c_f_pointer, c_int, c_int64_t, c_loc, &
        c_null_char, c_null_ptr, c_ptr, c_size_t
    use, intrinsic :: iso_fortran_env, only: error_unit, int32, int64, real32, real64
    use, intrinsic :: ieee_arithmetic, only: ieee_quiet_nan, ieee_value
    implicit none
    private

    public :: ml_client, ml_connect, ml_next_simulation, ml_end_simulation, ml_close, ml_fail
    public :: ml_parameter, ml_simulation, ml_purpose, ml_num_steps, ml_is_delivered, ml_field_shape
    public :: ml_set_extent, ml_index_list, ml_send_static, ml_step_begin, ml_send, ml_step_end
    public :: ml_last_error, ml_exit_code

    !> Values of `stat`.
    integer, parameter, public :: ML_OK = 0, ML_ERROR_CONFIGURATION = -1, ML_ERROR_REFUSED = -2, &
        ML_ERROR_STOPPED = -3, ML_ERROR_CONTRACT = -4, ML_ERROR_FAILED = -5, ML_ERROR_TRANSPORT = -6, &
        ML_ERROR_MEMORY = -7, ML_ERROR_USAGE = -8
    !> Results of `ml_purpose`.
    integer, parameter, public :: ML_TRAINING = 0, ML_VALIDATION = 1

    integer, parameter :: FINISHED = 1, MAX_DIMENSIONS = 8
    integer(c_int), parameter :: FLOAT32 = 0, FLOAT64 = 1, INTEGER32 = 3, INTEGER64 = 4

    !> The connection of one solver job.
    type :: ml_client
        private
        type(c_ptr) :: handle = c_null_ptr
    end type ml_client

    !> ml_set_extent(client, extent, size [, stat, errmsg]): how large an extent is in this simulation.
    interface ml_set_extent
        procedure set_extent_32, set_extent_64
    end interface ml_set_extent

    !> ml_index_list(client, numbers [, stat, errmsg]): the number of a new list, which holds the global numbers,
    !> from 1, of the points that this rank sends.
    interface ml_index_list
        procedure index_list_32, index_list_64
    end interface ml_index_list

    !> ml_step_begin(client, step [, time] [, stat, errmsg]): begin time step `step`, from 0; `time` is its physical
    !> time, real(real64), if the solver knows one.
    interface ml_step_begin
        procedure step_begin_32, step_begin_64
    end interface ml_step_begin

    !> ml_send(client, field, values [, first] [, list] [, stat, errmsg]): send this rank's array of a field of the step
    !> that has begun; it may be changed afterwards.
    !>   first: indices in the whole field of the first element of `values`; without it, all 1.
    !>   list: from `ml_index_list`: the first axis of `values` follows its points. Not together with `first`.
    interface ml_send
        procedure send_real32, send_real64, send_int32, send_int64
    end interface ml_send

    !> The same for a field that is sent once per simulation, before its first step.
    interface ml_send_static
        procedure send_static_real32, send_static_real64, send_static_int32, send_static_int64
    end interface ml_send_static

    interface
        function c_connect(handle) bind(c, name="ml_connect") result(code)
            import :: c_int, c_ptr
            type(c_ptr), intent(out) :: handle
            integer(c_int) :: code
        end function c_connect

        function c_connect_ranks(handle, comm) bind(c, name="ml_connect_mpi_f") result(code)
            import :: c_int, c_ptr
            type(c_ptr), intent(out) :: handle
            integer(c_int), value :: comm
            integer(c_int) :: code
        end function c_connect_ranks

        function c_close(handle) bind(c, name="ml_close") result(code)
            import :: c_int, c_ptr
            type(c_ptr), value :: handle
            integer(c_int) :: code
        end function c_close

        function c_next_simulation(handle) bind(c, name="ml_next_simulation") result(code)
            import :: c_int, c_ptr
            type(c_ptr), value :: handle
            integer(c_int) :: code
        end function c_next_simulation

        function c_end_simulation(handle) bind(c, name="ml_end_simulation") result(code)
            import :: c_int, c_ptr
            type(c_ptr), value :: handle
            integer(c_int) :: code
        end function c_end_simulation

        function c_fail(handle, message) bind(c, name="ml_fail") result(code)
            import :: c_char, c_int, c_ptr
            type(c_ptr), value :: handle
            character(kind=c_char), intent(in) :: message(*)
            integer(c_int) :: code
        end function c_fail

        function c_simulation(handle) bind(c, name="ml_simulation") result(number)
            import :: c_int64_t, c_ptr
            type(c_ptr), value :: handle
            integer(c_int64_t) :: number
        end function c_simulation

        function c_purpose(handle) bind(c, name="ml_purpose") result(purpose)
            import :: c_int, c_ptr
            type(c_ptr), value :: handle
            integer(c_int) :: purpose
        end function c_purpose

        function c_parameter(handle, name, parameter_value) bind(c, name="ml_parameter") result(code)
            import :: c_char, c_double, c_int, c_ptr
            type(c_ptr), value :: handle
            character(kind=c_char), intent(in) :: name(*)
            real(c_double), intent(inout) :: parameter_value
            integer(c_int) :: code
        end function c_parameter

        function c_num_steps(handle) bind(c, name="ml_num_steps") result(number)
            import :: c_int64_t, c_ptr
            type(c_ptr), value :: handle
            integer(c_int64_t) :: number
        end function c_num_steps

        function c_is_delivered(handle, step) bind(c, name="ml_is_delivered") result(yes)
            import :: c_int, c_int64_t, c_ptr
            type(c_ptr), value :: handle
            integer(c_int64_t), value :: step
            integer(c_int) :: yes
        end function c_is_delivered

        function c_field_shape(handle, field, extents) bind(c, name="ml_field_shape") result(num_dimensions)
            import :: c_char, c_int, c_int64_t, c_ptr
            type(c_ptr), value :: handle
            character(kind=c_char), intent(in) :: field(*)
            integer(c_int64_t), intent(inout) :: extents(*)
            integer(c_int) :: num_dimensions
        end function c_field_shape

        function c_set_extent(handle, extent, points) bind(c, name="ml_set_extent") result(code)
            import :: c_char, c_int, c_int64_t, c_ptr
            type(c_ptr), value :: handle
            character(kind=c_char), intent(in) :: extent(*)
            integer(c_int64_t), value :: points
            integer(c_int) :: code
        end function c_set_extent

        function c_index_list(handle, numbers, num_points, list) bind(c, name="ml_index_list") result(code)
            import :: c_int, c_int64_t, c_ptr
            type(c_ptr), value :: handle
            integer(c_int64_t), intent(in) :: numbers(*)
            integer(c_int64_t), value :: num_points
            integer(c_int), intent(inout) :: list
            integer(c_int) :: code
        end function c_index_list

        function c_step_begin(handle, step, time) bind(c, name="ml_step_begin") result(code)
            import :: c_double, c_int, c_int64_t, c_ptr
            type(c_ptr), value :: handle
            integer(c_int64_t), value :: step
            real(c_double), value :: time
            integer(c_int) :: code
        end function c_step_begin

        function c_step_end(handle) bind(c, name="ml_step_end") result(code)
            import :: c_int, c_ptr
            type(c_ptr), value :: handle
            integer(c_int) :: code
        end function c_step_end

        function c_send(handle, field, dtype, values, num_dimensions, offset, extents, strides) &
            bind(c, name="ml_send") result(code)
            import :: c_char, c_int, c_int64_t, c_ptr
            type(c_ptr), value :: handle
            character(kind=c_char), intent(in) :: field(*)
            integer(c_int), value :: dtype
            type(c_ptr), value :: values
            integer(c_int), value :: num_dimensions
            integer(c_int64_t), intent(in) :: offset(*), extents(*)
            type(c_ptr), value :: strides
            integer(c_int) :: code
        end function c_send

        function c_send_static(handle, field, dtype, values, num_dimensions, offset, extents, strides) &
            bind(c, name="ml_send_static") result(code)
            import :: c_char, c_int, c_int64_t, c_ptr
            type(c_ptr), value :: handle
            character(kind=c_char), intent(in) :: field(*)
            integer(c_int), value :: dtype
            type(c_ptr), value :: values
            integer(c_int), value :: num_dimensions
            integer(c_int64_t), intent(in) :: offset(*), extents(*)
            type(c_ptr), value :: strides
            integer(c_int) :: code
        end function c_send_static

        function c_send_scattered(handle, field, dtype, values, num_dimensions, extents, strides, list) &
            bind(c, name="ml_send_scattered") result(code)
            import :: c_char, c_int, c_int64_t, c_ptr
            type(c_ptr), value :: handle
            character(kind=c_char), intent(in) :: field(*)
            integer(c_int), value :: dtype
            type(c_ptr), value :: values
            integer(c_int), value :: num_dimensions
            integer(c_int64_t), intent(in) :: extents(*)
            type(c_ptr), value :: strides
            integer(c_int), value :: list
            integer(c_int) :: code
        end function c_send_scattered

        function c_send_static_scattered(handle, field, dtype, values, num_dimensions, extents, strides, list) &
            bind(c, name="ml_send_static_scattered") result(code)
            import :: c_char, c_int, c_int64_t, c_ptr
            type(c_ptr), value :: handle
            character(kind=c_char), intent(in) :: field(*)
            integer(c_int), value :: dtype
            type(c_ptr), value :: values
            integer(c_int), value :: num_dimensions
            integer(c_int64_t), intent(in) :: extents(*)
            type(c_ptr), value :: strides
            integer(c_int), value :: list
            integer(c_int) :: code
        end function c_send_static_scattered

        function c_last_error() bind(c, name="ml_last_error") result(text)
            import :: c_ptr
            type(c_ptr) :: text
        end function c_last_error

        function c_exit_code(status) bind(c, name="ml_exit_code") result(code)
            import :: c_int
            integer(c_int), value :: status
            integer(c_int) :: code
        end function c_exit_code

        function strlen(text) bind(c, name="strlen") result(length)
            import :: c_ptr, c_size_t
            type(c_ptr), value :: text
            integer(c_size_t) :: length
        end function strlen
    end interface

contains

    !> Connect the job. `comm` is the communicator of its ranks, an integer as of `use mpi` (with `use mpi_f08`:
    !> `comm%MPI_VAL`); all of them call it. Without it, a job of one rank.
    subroutine ml_connect(client, comm, stat, errmsg)
        type(ml_client), intent(out) :: client
        integer, intent(in), optional :: comm
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        if (present(comm)) then
            call settle(c_connect_ranks(client%handle, int(comm, c_int)), stat, errmsg)
        else
            call settle(c_connect(client%handle), stat, errmsg)
        end if
    end subroutine ml_connect

    !> Whether there is another simulation for this job, which is then open; false after an error too. Every rank calls
    !> it. Ends the simulation that is open.
    function ml_next_simulation(client, stat, errmsg) result(found)
        type(ml_client), intent(in) :: client
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg
        logical :: found
        integer(c_int) :: code

        code = c_next_simulation(client%handle)
        found = code == ML_OK
        if (code == FINISHED) code = ML_OK
        call settle(code, stat, errmsg)
    end function ml_next_simulation

    !> All steps of the simulation that is open were sent; every rank calls it.
    subroutine ml_end_simulation(client, stat, errmsg)
        type(ml_client), intent(in) :: client
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        call settle(c_end_simulation(client%handle), stat, errmsg)
    end subroutine ml_end_simulation

    !> End the simulation that is open, if one is, and the connection; every rank calls it, before MPI_Finalize.
    subroutine ml_close(client, stat, errmsg)
        type(ml_client), intent(inout) :: client
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg
        integer(c_int) :: code

        code = c_close(client%handle)
        client%handle = c_null_ptr
        call settle(code, stat, errmsg)
    end subroutine ml_close

    !> Report that the simulation cannot go on; one rank may call it alone. Without `stat` the program stops.
    subroutine ml_fail(client, message, stat, errmsg)
        type(ml_client), intent(in) :: client
        character(*), intent(in) :: message
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        call settle(c_fail(client%handle, zero_ended(message)), stat, errmsg)
    end subroutine ml_fail

    !> The value of a parameter by its name; NaN after an error.
    function ml_parameter(client, name, stat, errmsg) result(found)
        type(ml_client), intent(in) :: client
        character(*), intent(in) :: name
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg
        real(real64) :: found

        found = ieee_value(found, ieee_quiet_nan)
        call settle(c_parameter(client%handle, zero_ended(name), found), stat, errmsg)
    end function ml_parameter

    !> Number of the simulation within the study; -1 if none is open.
    function ml_simulation(client) result(number)
        type(ml_client), intent(in) :: client
        integer(int64) :: number

        number = c_simulation(client%handle)
    end function ml_simulation

    !> ML_TRAINING or ML_VALIDATION (held out); -1 if no simulation is open.
    function ml_purpose(client) result(purpose)
        type(ml_client), intent(in) :: client
        integer :: purpose

        purpose = c_purpose(client%handle)
    end function ml_purpose

    !> How many time steps the study declares; -1 if only the solver knows.
    function ml_num_steps(client) result(number)
        type(ml_client), intent(in) :: client
        integer(int64) :: number

        number = c_num_steps(client%handle)
    end function ml_num_steps

    !> Whether the study needs nothing more of a step, so that sending it is skipped.
    function ml_is_delivered(client, step) result(yes)
        type(ml_client), intent(in) :: client
        integer, intent(in) :: step
        logical :: yes

        yes = c_is_delivered(client%handle, int(step, c_int64_t)) /= 0
    end function ml_is_delivered

    !> The shape that a Fortran array of the whole field has; -1 where a simulation has not said its size yet.
    function ml_field_shape(client, field, stat, errmsg) result(extents)
        type(ml_client), intent(in) :: client
        character(*), intent(in) :: field
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg
        integer(int64), allocatable :: extents(:)
        integer(c_int64_t) :: found(MAX_DIMENSIONS)
        integer(c_int) :: num_dimensions

        num_dimensions = c_field_shape(client%handle, zero_ended(field), found)
        allocate (extents(max(num_dimensions, 0)))
        extents(:) = found(size(extents):1:-1)
        call settle(min(num_dimensions, 0), stat, errmsg)
    end function ml_field_shape

    subroutine set_extent_32(client, extent, points, stat, errmsg)
        type(ml_client), intent(in) :: client
        character(*), intent(in) :: extent
        integer(int32), intent(in) :: points
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        call set_extent_64(client, extent, int(points, int64), stat, errmsg)
    end subroutine set_extent_32

    subroutine set_extent_64(client, extent, points, stat, errmsg)
        type(ml_client), intent(in) :: client
        character(*), intent(in) :: extent
        integer(int64), intent(in) :: points
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        call settle(c_set_extent(client%handle, zero_ended(extent), points), stat, errmsg)
    end subroutine set_extent_64

    function index_list_32(client, numbers, stat, errmsg) result(list)
        type(ml_client), intent(in) :: client
        integer(int32), intent(in) :: numbers(:)
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg
        integer :: list

        list = index_list_64(client, int(numbers, int64), stat, errmsg)
    end function index_list_32

    function index_list_64(client, numbers, stat, errmsg) result(list)
        type(ml_client), intent(in) :: client
        integer(int64), intent(in) :: numbers(:)
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg
        integer :: list
        integer(c_int) :: made

        made = -1
        call settle(c_index_list(client%handle, numbers - 1, size(numbers, kind=c_int64_t), made), stat, errmsg)
        list = made
    end function index_list_64

    subroutine step_begin_32(client, step, time, stat, errmsg)
        type(ml_client), intent(in) :: client
        integer(int32), intent(in) :: step
        real(real64), intent(in), optional :: time
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        call step_begin_64(client, int(step, int64), time, stat, errmsg)
    end subroutine step_begin_32

    subroutine step_begin_64(client, step, time, stat, errmsg)
        type(ml_client), intent(in) :: client
        integer(int64), intent(in) :: step
        real(real64), intent(in), optional :: time
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg
        real(c_double) :: known

        known = ieee_value(known, ieee_quiet_nan)
        if (present(time)) known = time
        call settle(c_step_begin(client%handle, step, known), stat, errmsg)
    end subroutine step_begin_64

    !> End the time step; the ranks wait for each other here.
    subroutine ml_step_end(client, stat, errmsg)
        type(ml_client), intent(in) :: client
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        call settle(c_step_end(client%handle), stat, errmsg)
    end subroutine ml_step_end

    subroutine send_real32(client, field, values, first, list, stat, errmsg)
        type(ml_client), intent(in) :: client
        character(*), intent(in) :: field
        real(real32), intent(in), contiguous, target :: values(..)
        integer, intent(in), optional :: first(:), list
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        call send_array(client, field, .false., FLOAT32, c_loc(values), shape(values, kind=c_int64_t), &
            first, list, stat, errmsg)
    end subroutine send_real32

    subroutine send_real64(client, field, values, first, list, stat, errmsg)
        type(ml_client), intent(in) :: client
        character(*), intent(in) :: field
        real(real64), intent(in), contiguous, target :: values(..)
        integer, intent(in), optional :: first(:), list
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        call send_array(client, field, .false., FLOAT64, c_loc(values), shape(values, kind=c_int64_t), &
            first, list, stat, errmsg)
    end subroutine send_real64

    subroutine send_int32(client, field, values, first, list, stat, errmsg)
        type(ml_client), intent(in) :: client
        character(*), intent(in) :: field
        integer(int32), intent(in), contiguous, target :: values(..)
        integer, intent(in), optional :: first(:), list
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        call send_array(client, field, .false., INTEGER32, c_loc(values), shape(values, kind=c_int64_t), &
            first, list, stat, errmsg)
    end subroutine send_int32

    subroutine send_int64(client, field, values, first, list, stat, errmsg)
        type(ml_client), intent(in) :: client
        character(*), intent(in) :: field
        integer(int64), intent(in), contiguous, target :: values(..)
        integer, intent(in), optional :: first(:), list
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        call send_array(client, field, .false., INTEGER64, c_loc(values), shape(values, kind=c_int64_t), &
            first, list, stat, errmsg)
    end subroutine send_int64

    subroutine send_static_real32(client, field, values, first, list, stat, errmsg)
        type(ml_client), intent(in) :: client
        character(*), intent(in) :: field
        real(real32), intent(in), contiguous, target :: values(..)
        integer, intent(in), optional :: first(:), list
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        call send_array(client, field, .true., FLOAT32, c_loc(values), shape(values, kind=c_int64_t), &
            first, list, stat, errmsg)
    end subroutine send_static_real32

    subroutine send_static_real64(client, field, values, first, list, stat, errmsg)
        type(ml_client), intent(in) :: client
        character(*), intent(in) :: field
        real(real64), intent(in), contiguous, target :: values(..)
        integer, intent(in), optional :: first(:), list
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        call send_array(client, field, .true., FLOAT64, c_loc(values), shape(values, kind=c_int64_t), &
            first, list, stat, errmsg)
    end subroutine send_static_real64

    subroutine send_static_int32(client, field, values, first, list, stat, errmsg)
        type(ml_client), intent(in) :: client
        character(*), intent(in) :: field
        integer(int32), intent(in), contiguous, target :: values(..)
        integer, intent(in), optional :: first(:), list
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        call send_array(client, field, .true., INTEGER32, c_loc(values), shape(values, kind=c_int64_t), &
            first, list, stat, errmsg)
    end subroutine send_static_int32

    subroutine send_static_int64(client, field, values, first, list, stat, errmsg)
        type(ml_client), intent(in) :: client
        character(*), intent(in) :: field
        integer(int64), intent(in), contiguous, target :: values(..)
        integer, intent(in), optional :: first(:), list
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        call send_array(client, field, .true., INTEGER64, c_loc(values), shape(values, kind=c_int64_t), &
            first, list, stat, errmsg)
    end subroutine send_static_int64

    !> Send an array of whatever type, given by its place in memory and its shape in Fortran's order.
    subroutine send_array(client, field, is_static, dtype, values, extents, first, list, stat, errmsg)
        type(ml_client), intent(in) :: client
        character(*), intent(in) :: field
        logical, intent(in) :: is_static
        integer(c_int), intent(in) :: dtype
        type(c_ptr), intent(in) :: values
        integer(c_int64_t), intent(in) :: extents(:)
        integer, intent(in), optional :: first(:), list
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg
        integer(c_int64_t) :: offset(size(extents)), c_shape(size(extents))
        integer(c_int) :: num_dimensions, code

        num_dimensions = size(extents)
        c_shape(:) = extents(num_dimensions:1:-1)
        offset(:) = 0
        if (present(first)) then
            if (present(list) .or. size(first) /= num_dimensions) then
                call refuse(field, first, num_dimensions, present(list), stat, errmsg)
                return
            end if
            offset(:) = first(num_dimensions:1:-1) - 1
        end if
        if (present(list)) then
            if (is_static) then
                code = c_send_static_scattered(client%handle, zero_ended(field), dtype, values, num_dimensions, &
                    c_shape, c_null_ptr, int(list, c_int))
            else
                code = c_send_scattered(client%handle, zero_ended(field), dtype, values, num_dimensions, c_shape, &
                    c_null_ptr, int(list, c_int))
            end if
        else if (is_static) then
            code = c_send_static(client%handle, zero_ended(field), dtype, values, num_dimensions, offset, c_shape, &
                c_null_ptr)
        else
            code = c_send(client%handle, zero_ended(field), dtype, values, num_dimensions, offset, c_shape, c_null_ptr)
        end if
        call settle(code, stat, errmsg)
    end subroutine send_array

    !> What only this module sees to be wrong.
    subroutine refuse(field, first, num_dimensions, has_list, stat, errmsg)
        character(*), intent(in) :: field
        integer, intent(in) :: first(:), num_dimensions
        logical, intent(in) :: has_list
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg
        character(300) :: text

        if (has_list) then
            text = "field '" // trim(field) // "': ml_send received both first and list: a box of the field has " // &
                "first, the points of an index list have list"
        else
            write (text, "(3a, i0, a, i0, a)") "field '", trim(field), "': first has ", size(first), &
                " numbers but the array has ", num_dimensions, " axes: give the global index of its first element"
        end if
        call report(int(ML_ERROR_USAGE, c_int), trim(text), stat, errmsg)
    end subroutine refuse

    !> The message of the last call on this thread that failed.
    function ml_last_error() result(message)
        character(:), allocatable :: message
        type(c_ptr) :: text
        character(kind=c_char), pointer :: letters(:)
        integer :: i

        text = c_last_error()
        call c_f_pointer(text, letters, [strlen(text)])
        allocate (character(size(letters)) :: message)
        do i = 1, size(letters)
            message(i:i) = letters(i)
        end do
    end function ml_last_error

    !> The exit code with which a program ends that has received this `stat`.
    function ml_exit_code(stat) result(code)
        integer, intent(in) :: stat
        integer :: code

        code = c_exit_code(int(stat, c_int))
    end function ml_exit_code

    !> Give the caller the code of a C function, or stop.
    subroutine settle(code, stat, errmsg)
        integer(c_int), intent(in) :: code
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg

        if (code < 0) then
            call report(code, ml_last_error(), stat, errmsg)
        else if (present(stat)) then
            stat = ML_OK
        end if
    end subroutine settle

    subroutine report(code, message, stat, errmsg)
        integer(c_int), intent(in) :: code
        character(*), intent(in) :: message
        integer, intent(out), optional :: stat
        character(*), intent(inout), optional :: errmsg
        integer :: exit_code

        if (present(errmsg)) errmsg = message
        if (present(stat)) then
            stat = code
            return
        end if
        exit_code = ml_exit_code(int(code))
        write (error_unit, "(a)") message
        flush (error_unit)
        stop exit_code, quiet=.true.
    end subroutine report

    pure function zero_ended(text) result(letters)
        character(*), intent(in) :: text
        character(len_trim(text) + 1, kind=c_char) :: letters

        letters = trim(text) // c_null_char
    end function zero_ended
end module melissa_like
