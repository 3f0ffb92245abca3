! The heat equation of melissa_like.solvers.heat2d in Fortran: MPI, a main of its own, many simulations per job.
!
!     heat2d_fortran [GRID_SIZE [NUM_STEPS]]
!
! Equation, scheme and boundary convention are those of the Python package, and so are the numbers, within its
! tolerance: backward Euler, five-point Laplacian, and conjugate gradients as rearranged by Chronopoulos and Gear (1989,
! algorithm 2.2), with one reduction per iteration. Each rank has a block of rows; x is the first axis of an array here,
! so that a field of the study's shape [rows, columns] is an array (columns, rows).
module heat_equation
    use, intrinsic :: iso_fortran_env, only: real64
    use mpi
    implicit none
    private
    public :: heat, TIME_STEP, INITIAL, LEFT, RIGHT, BOTTOM, TOP, NUM_PARAMETERS

    real(real64), parameter :: TIME_STEP = 0.01_real64  ! the diffusivity is 1
    ! Root mean square error of one solution, relative to the largest temperature.
    real(real64), parameter :: TOLERANCE = 1e-8_real64
    integer, parameter :: INITIAL = 1, LEFT = 2, RIGHT = 3, BOTTOM = 4, TOP = 5, NUM_PARAMETERS = 5

    !> One rank's rows of the square, and the vectors of its linear system.
    type :: heat
        integer :: comm, below, above  ! ranks with the neighbouring rows; MPI_PROC_NULL at an edge
        integer :: n                   ! interior points along a side: columns, and rows of all ranks together
        integer :: first_row, num_rows
        real(real64) :: shift          ! h**2 / (diffusivity * time step)
        real(real64) :: max_residual
        real(real64), allocatable :: u(:, :)               ! the temperature
        real(real64), allocatable :: edges(:, :)           ! of each point, the sum of its neighbours on an edge
        real(real64), allocatable :: r(:, :)               ! the residual, in a frame of the neighbours' rows and zeros
        real(real64), allocatable :: w(:, :), p(:, :), s(:, :)  ! A r, the direction, A p
    contains
        procedure :: make, begin, advance
        procedure, private :: apply, apply_and_reduce
    end type heat

contains

    subroutine make(self, comm, n)
        class(heat), intent(out) :: self
        integer, intent(in) :: comm, n
        integer :: rank, num_ranks, ierror

        call MPI_Comm_rank(comm, rank, ierror)
        call MPI_Comm_size(comm, num_ranks, ierror)
        self%comm = comm
        self%n = n
        self%first_row = rank * n / num_ranks + 1
        self%num_rows = (rank + 1) * n / num_ranks + 1 - self%first_row
        self%below = merge(rank - 1, MPI_PROC_NULL, rank > 0)
        self%above = merge(rank + 1, MPI_PROC_NULL, rank < num_ranks - 1)
        self%shift = 1 / ((n + 1.0_real64)**2 * TIME_STEP)
        allocate (self%u(n, self%num_rows), self%edges(n, self%num_rows), self%w(n, self%num_rows))
        allocate (self%p(n, self%num_rows), self%s(n, self%num_rows), self%r(0:n + 1, 0:self%num_rows + 1))
        self%r(:, :) = 0
    end subroutine make

    !> The uniform field at time 0, and the edges, of another simulation.
    subroutine begin(self, temperatures)
        class(heat), intent(inout) :: self
        real(real64), intent(in) :: temperatures(NUM_PARAMETERS)
        real(real64) :: largest

        self%u(:, :) = temperatures(INITIAL)
        self%edges(:, :) = 0
        self%edges(1, :) = self%edges(1, :) + temperatures(LEFT)
        self%edges(self%n, :) = self%edges(self%n, :) + temperatures(RIGHT)
        if (self%below == MPI_PROC_NULL) self%edges(:, 1) = self%edges(:, 1) + temperatures(BOTTOM)
        if (self%above == MPI_PROC_NULL) then
            self%edges(:, self%num_rows) = self%edges(:, self%num_rows) + temperatures(TOP)
        end if
        largest = maxval(abs(temperatures))
        self%max_residual = TOLERANCE * merge(largest, 1.0_real64, largest > 0) * self%n * self%shift
    end subroutine begin

    !> Put A r into w, where (A v)(i, j) = (4 + shift) v(i, j) - its four neighbours.
    subroutine apply(self)
        class(heat), intent(inout) :: self
        integer :: ierror

        associate (n => self%n, m => self%num_rows, r => self%r)
            call MPI_Sendrecv(r(1, m), n, MPI_DOUBLE_PRECISION, self%above, 0, r(1, 0), n, MPI_DOUBLE_PRECISION, &
                self%below, 0, self%comm, MPI_STATUS_IGNORE, ierror)
            call MPI_Sendrecv(r(1, 1), n, MPI_DOUBLE_PRECISION, self%below, 1, r(1, m + 1), n, MPI_DOUBLE_PRECISION, &
                self%above, 1, self%comm, MPI_STATUS_IGNORE, ierror)
            self%w(:, :) = (4 + self%shift) * r(1:n, 1:m) - r(0:n - 1, 1:m) - r(2:n + 1, 1:m) &
                - r(1:n, 0:m - 1) - r(1:n, 2:m + 1)
        end associate
    end subroutine apply

    !> Put A r into w; (r, r) and (r, w) over all ranks.
    subroutine apply_and_reduce(self, totals)
        class(heat), intent(inout) :: self
        real(real64), intent(out) :: totals(2)
        real(real64) :: mine(2)
        integer :: ierror

        call self%apply()
        associate (r => self%r(1:self%n, 1:self%num_rows))
            mine = [sum(r * r), sum(r * self%w)]
        end associate
        call MPI_Allreduce(mine, totals, 2, MPI_DOUBLE_PRECISION, MPI_SUM, self%comm, ierror)
    end subroutine apply_and_reduce

    !> One time step: solve A u' = shift u + edges from the guess u' = u. False if that does not converge.
    function advance(self) result(converged)
        class(heat), intent(inout) :: self
        logical :: converged
        real(real64) :: alpha, beta, totals(2), before
        integer :: iteration

        associate (u => self%u, r => self%r(1:self%n, 1:self%num_rows), w => self%w, p => self%p, s => self%s)
            r(:, :) = u
            call self%apply()
            r(:, :) = self%shift * u + self%edges - w
            p(:, :) = 0
            s(:, :) = 0
            alpha = 0
            beta = 0
            call self%apply_and_reduce(totals)
            do iteration = 1, ceiling(40 * sqrt(1 + 8 / self%shift))
                converged = totals(1) <= self%max_residual**2
                if (converged) return
                if (iteration == 1) then
                    alpha = totals(1) / totals(2)
                else
                    alpha = totals(1) / (totals(2) - beta * totals(1) / alpha)
                end if
                p(:, :) = r + beta * p
                s(:, :) = w + beta * s
                u(:, :) = u + alpha * p
                r(:, :) = r - alpha * s
                before = totals(1)
                call self%apply_and_reduce(totals)
                beta = totals(1) / before
            end do
        end associate
        converged = .false.
    end function advance
end module heat_equation

program heat2d_fortran
    use, intrinsic :: iso_fortran_env, only: error_unit, real64
    use heat_equation
    use melissa_like
    use mpi
    implicit none

    integer :: n, num_steps, num_ranks, step, ierror
    real(real64) :: temperatures(NUM_PARAMETERS)
    type(heat) :: square
    type(ml_client) :: client

    call MPI_Init(ierror)
    call MPI_Comm_size(MPI_COMM_WORLD, num_ranks, ierror)
    n = argument(1, default=32)
    num_steps = argument(2, default=100)
    if (n < num_ranks .or. num_steps < 1) then
        write (error_unit, "(3(a, i0), a)") "heat2d_fortran: ", n, " rows, ", num_steps, " steps on ", num_ranks, &
            " ranks: each rank needs a row"
        call MPI_Abort(MPI_COMM_WORLD, 2, ierror)
    end if
    call square%make(MPI_COMM_WORLD, n)

    call ml_connect(client, MPI_COMM_WORLD)
    do while (ml_next_simulation(client))
        temperatures(INITIAL) = ml_parameter(client, "initial_temperature")
        temperatures(LEFT) = ml_parameter(client, "left_temperature")
        temperatures(RIGHT) = ml_parameter(client, "right_temperature")
        temperatures(BOTTOM) = ml_parameter(client, "bottom_temperature")
        temperatures(TOP) = ml_parameter(client, "top_temperature")
        call square%begin(temperatures)
        do step = 0, num_steps - 1
            if (.not. square%advance()) then
                call ml_fail(client, "the conjugate gradient does not converge: check that the temperatures are finite")
            end if
            call ml_step_begin(client, step, (step + 1) * TIME_STEP)
            call ml_send(client, "temperature", square%u, first=[1, square%first_row])
            call ml_step_end(client)
        end do
    end do
    call ml_close(client)
    call MPI_Finalize(ierror)

contains

    !> A whole number from the command line.
    function argument(position, default) result(number)
        integer, intent(in) :: position, default
        integer :: number, status
        character(20) :: text

        number = default
        if (position > command_argument_count()) return
        call get_command_argument(position, text)
        read (text, *, iostat=status) number
        if (status /= 0) number = 0
    end function argument
end program heat2d_fortran
